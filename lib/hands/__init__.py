"""Hands: joint orders, the MANO model, and renderings of it."""
