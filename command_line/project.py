"""Folders of this checkout."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
STATE = PROJECT / ".local"
"""State that commands keep between runs, outside version control."""


def add_layers_to_path() -> None:
    """Make the Lambda layers importable in this process."""
    sys.path += [str(layer) for layer in sorted(PROJECT.glob("layers/*")) if layer.is_dir()]
