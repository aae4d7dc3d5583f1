"""A run's students on tasks beside retrieval."""
