"""Thin programs for people: the command line and the demo."""
