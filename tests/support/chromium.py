"""The installed Chromium. Playwright's own would be a download."""

import shutil

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of the first of `PROGRAMS` that is installed."""
    return next((path for program in PROGRAMS if (path := shutil.which(program))), None)
