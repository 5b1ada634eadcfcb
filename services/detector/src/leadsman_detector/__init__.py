"""Leadsman detector."""
