"""What a run's gain over random pairs is made of."""
