"""The formats of results, one a file."""
