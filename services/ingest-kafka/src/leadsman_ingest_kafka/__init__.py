"""Leadsman ingest_kafka."""
