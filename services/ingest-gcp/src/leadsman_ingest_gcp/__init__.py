"""Leadsman ingest_gcp."""
