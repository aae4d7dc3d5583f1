"""Every row of a benchmark, measured one at a time and rendered as tables."""
