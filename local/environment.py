"""The environment of the programs that we start: made here, rather than the user's own.

Nothing of the user's AWS profile may reach them, nor a proxy, an index or an option that they happen to have set, and
no call of theirs may leave this machine.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REGION = "us-east-1"
# The emulator takes any. Never the user's: they would be sent to whatever answers.
ACCESS_KEY_ID = "local"
SECRET_ACCESS_KEY = "local"  # noqa: S105

_PASSED_ON = ("LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def for_programs(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment with the virtual environment's programs on its path and `home` as its home."""
    _mute_version_check(home)
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(home),
        "TZ": "UTC",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
        "SAM_CLI_TELEMETRY": "0",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **(more or {}),
    }


def _mute_version_check(home: Path) -> None:
    """SAM asks the package index for a newer version once a week, and no option stops it."""
    directory = home / ".aws-sam"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time(), "telemetryEnabled": False}))
