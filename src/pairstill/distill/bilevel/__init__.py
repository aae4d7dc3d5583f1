"""Matching of teachers' trajectories: an outer step differentiates through an inner loop."""
