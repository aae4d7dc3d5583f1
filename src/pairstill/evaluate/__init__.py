"""Students trained on distilled pairs, recall, and the protocol that keeps the test split out of every choice."""
