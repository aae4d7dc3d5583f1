"""Tasks beside retrieval: images with classes, and questions about images."""
