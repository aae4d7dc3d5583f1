"""A run: its context, its folder and log, and its stages, each a function of the context."""
