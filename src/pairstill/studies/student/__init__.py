"""A run's trained student, for use elsewhere."""
