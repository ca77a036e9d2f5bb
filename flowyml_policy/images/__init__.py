"""Container images: which ones a definition names, and what they are."""
