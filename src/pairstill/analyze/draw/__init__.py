"""Pictures of what the analyses measure."""

TITLES = {
    "original": "Original trajectory",
    "shortcut": "Shortcut trajectory",
    "line": "Straight line at an even pace",
}
"""What paths are called in pictures."""
