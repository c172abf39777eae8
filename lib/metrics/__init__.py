"""Metrics: numpy in, plain numbers out; `scores` knows the rule of each benchmark."""
