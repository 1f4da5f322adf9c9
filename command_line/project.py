"""Folders of this checkout."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
STATE = PROJECT / ".local"
"""What commands keep between runs. It is not under version control."""


def add_layers_to_path() -> None:
    """Let this process import what the functions import from their layers."""
    sys.path += [str(layer) for layer in sorted(PROJECT.glob("layers/*")) if layer.is_dir()]
