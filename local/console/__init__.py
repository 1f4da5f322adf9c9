"""Web console and API reference, served by the local stack only."""
