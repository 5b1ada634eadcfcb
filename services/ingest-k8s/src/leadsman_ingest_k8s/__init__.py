"""Leadsman ingest_k8s."""
