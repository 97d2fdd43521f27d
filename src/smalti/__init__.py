"""Smalti."""
