"""The graph of stages: what of it a change asks for again, and what trainings cost."""
