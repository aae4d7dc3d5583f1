"""The two pretrained towers, and the cache of what they compute."""
