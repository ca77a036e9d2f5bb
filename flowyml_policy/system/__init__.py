"""This machine: who runs the program, where state and cache lie, how files are read and replaced."""
