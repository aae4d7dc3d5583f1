"""The dual encoder, its losses, and its use as a pure function of its parameters."""
