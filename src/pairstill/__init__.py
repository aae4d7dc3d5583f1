"""Multimodal dataset distillation: a few hundred synthetic pairs in place of a large image-text set."""

__version__ = "0.1.0"
