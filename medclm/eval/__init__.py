"""Scores, each beside its controls."""
