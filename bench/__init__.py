"""Benchmarks of time, requests, capacity and price, run side by side by `make bench`."""
