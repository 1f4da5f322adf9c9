"""The functions in this process, called as Lambda calls them, and the tables that they need: for tests and `bench/`."""
