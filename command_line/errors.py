"""The error that ends a command."""


class CommandError(Exception):
    """A command cannot go on. The message says why and what to do about it, so that no traceback is needed."""
