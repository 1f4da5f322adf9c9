"""What keeps the local stack from running, told to the person who started it."""


class StackError(Exception):
    """The stack cannot run. The message says why and what to do about it; no traceback is needed to read it."""
