"""Leadsman normalizer."""
