"""Definitions in git repositories, read through the git command."""
