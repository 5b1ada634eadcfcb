"""Leadsman ingest_aws."""
