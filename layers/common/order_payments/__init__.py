"""Shared code of the functions: the order domain, its tables, Stripe, and the HTTP API."""
