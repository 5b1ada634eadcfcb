"""Leadsman notifier."""
