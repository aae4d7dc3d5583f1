"""Several runs side by side: their rows, whether they differ, and their curves."""
