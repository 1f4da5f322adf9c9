"""Text for people: one line, without control and bidirectional formatting characters."""

import re

_BREAKS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_BLANKS = r"\x20\xa0\u1680\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff"
LINE_OF_TEXT = f"^[^{_BREAKS}]*[^{_BREAKS}{_BLANKS}][^{_BREAKS}]*$"
"""Pattern of a line that is not blank and has no line break, control or bidirectional formatting character."""

_LINE_OF_TEXT = re.compile(LINE_OF_TEXT.removeprefix("^").removesuffix("$"))


def is_line_of_text(value: object, *, maximum_length: int) -> bool:
    """Return whether `value` is one line of text of at most `maximum_length` characters."""
    return isinstance(value, str) and len(value) <= maximum_length and _LINE_OF_TEXT.fullmatch(value) is not None
