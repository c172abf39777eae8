"""The graph of stages: what of it a change asks for again, what trainings cost, and how it runs side by side."""
