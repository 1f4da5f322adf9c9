"""Packaging, releases, generated documents, and the pipeline's AWS roles."""
