"""Leadsman ingest_azure."""
