"""Real pairs: sources, the checked manifest, image batches and the teachers' augmentation."""
