"""The error that ends a command."""


class CommandError(Exception):
    """A failure that ends a command. The message states what happened and what to do; no traceback is printed."""
