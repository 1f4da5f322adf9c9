"""Harness for tests and `bench/`: runs the functions in this process as Lambda does, and creates their tables."""
