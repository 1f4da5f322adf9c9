"""The release before this one, from the history of this repository."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from command_line.project import PROJECT, STATE

PREVIOUS_RELEASE = "93e3d6ff50064671505489f5b8c83e9547781d2e"
"""The commit of the release before this one; CONTRIBUTING.md, "Release", says when it is another."""

_DIRECTORY = STATE / "releases" / PREVIOUS_RELEASE[:12]


def is_available() -> bool:
    """Return whether the release is in the history. A source archive has none, and a shallow clone only its end."""
    return _DIRECTORY.exists() or _git("cat-file", "-e", f"{PREVIOUS_RELEASE}^{{commit}}") is not None


def checkout() -> Path:
    """Return the folder of the release as it was committed. It stays, with what was built of it, for the next run."""
    if not _DIRECTORY.exists():
        archive = _git("archive", PREVIOUS_RELEASE)
        assert archive is not None, f"The history has no {PREVIOUS_RELEASE}. In a shallow clone: git fetch --unshallow"
        unfinished = _DIRECTORY.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(unfinished, filter="data")
        unfinished.replace(_DIRECTORY)
    return _DIRECTORY


def _git(*arguments: str) -> bytes | None:
    """Return the output of git in this repository; `None` where it fails or is missing.

    The repository is named, so that an archive within another repository does not use that one.
    """
    try:
        done = subprocess.run(
            ["git", "--git-dir", PROJECT / ".git", *arguments], capture_output=True, check=False, timeout=60
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
