"""Targets from keypoints and keypoints from outputs: each codec is one object with encode and decode."""
