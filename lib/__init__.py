"""Pose-network distillation: data, models, tasks, training, metrics and reports."""
