"""Training: the loop, its checkpoints, several processes, and predictions."""
