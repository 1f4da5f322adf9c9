"""The previous release, read from the git history."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from command_line.project import PROJECT, STATE

PREVIOUS_RELEASE = "93e3d6ff50064671505489f5b8c83e9547781d2e"
"""The previous release's commit. CONTRIBUTING.md, "Release", describes when to change it."""

_DIRECTORY = STATE / "releases" / PREVIOUS_RELEASE[:12]


def is_available() -> bool:
    """Return whether the history has the release. A source archive and a shallow clone may lack it."""
    return _DIRECTORY.exists() or _git("cat-file", "-e", f"{PREVIOUS_RELEASE}^{{commit}}") is not None


def checkout() -> Path:
    """Return a folder with the committed files of the release. Later runs reuse it, with its builds."""
    if not _DIRECTORY.exists():
        archive = _git("archive", PREVIOUS_RELEASE)
        assert archive is not None, f"No commit {PREVIOUS_RELEASE}. In a shallow clone, run: git fetch --unshallow"
        unfinished = _DIRECTORY.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(unfinished, filter="data")
        unfinished.replace(_DIRECTORY)
    return _DIRECTORY


def _git(*arguments: str) -> bytes | None:
    """Return the output of git in this repository, or `None` if it fails or is not installed.

    `--git-dir` keeps a source archive inside another repository from using that one.
    """
    try:
        process = subprocess.run(
            ["git", "--git-dir", PROJECT / ".git", *arguments], capture_output=True, check=False, timeout=60
        )
    except FileNotFoundError:
        return None
    return process.stdout if process.returncode == 0 else None
