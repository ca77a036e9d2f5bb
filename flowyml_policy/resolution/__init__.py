"""From what the user names to definitions: which documents are meant, and where they came from."""
