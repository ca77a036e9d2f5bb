"""From what a caller names to a recorded decision: the order of the work, and nothing below it decides."""
