"""What helps with runs and is none: benchmarks, plans, comparisons, the paper's tables."""
