"""Benchmarks of time, DynamoDB requests, capacity units and price, run by `make bench`."""
