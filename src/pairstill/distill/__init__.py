"""Distillation: each module is one concept, from the initial pairs to the phases."""
