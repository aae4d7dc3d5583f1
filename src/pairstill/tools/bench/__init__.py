"""Benchmarks that anyone can run: variants of one computation, timed in turn, their memory in fresh processes."""
