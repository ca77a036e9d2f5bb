"""What each command prints about its own subject, one subject a file."""
