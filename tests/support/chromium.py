"""The machine's own Chromium. Playwright's is a download of its own, which not every machine may make."""

import shutil

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Path of the first one that there is."""
    return next((path for program in PROGRAMS if (path := shutil.which(program))), None)
