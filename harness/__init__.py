"""Functions in this process, called as Lambda calls them, and their tables: for tests and `bench/`."""
