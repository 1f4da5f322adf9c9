"""Packages, releases, documents generated from the code, and the pipeline's roles in AWS."""
