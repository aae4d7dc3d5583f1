"""Other encoders than those that the pairs were made for."""
