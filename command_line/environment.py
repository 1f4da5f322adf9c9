"""The environment of the programs that we start: made here, rather than the user's own.

Nothing of the user's AWS profile may reach them, nor a proxy, an index or an option that they happen to have set, and
no call of theirs may leave this machine.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REGION = "us-east-1"
# The emulator takes any. Never the user's: they would be sent to whatever answers.
ACCESS_KEY_ID = "local"
SECRET_ACCESS_KEY = "local"  # noqa: S105

AWS_SETTINGS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Settings of the AWS SDK for calls that stay on this machine."""

_PASSED_ON = ("LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")

_users_aws_settings: dict[str, str] | None = None


def use_local_aws_settings() -> None:
    """Make this process ignore the user's AWS settings.

    The SDK reads them even if a client is given everything, and fails if a profile, a file or a value is unknown.
    """
    global _users_aws_settings
    if _users_aws_settings is None:
        _users_aws_settings = _replace_aws_settings(AWS_SETTINGS)


@contextmanager
def users_aws_settings() -> Iterator[None]:
    """Apply the user's own AWS settings until the block is left: for calls to the user's AWS account."""
    if _users_aws_settings is None:
        yield
        return
    ours = _replace_aws_settings(_users_aws_settings)
    try:
        yield
    finally:
        _replace_aws_settings(ours)


def users_environment() -> dict[str, str]:
    """Return the environment that this process was started with."""
    with users_aws_settings():
        return dict(os.environ)


def _replace_aws_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Replace every AWS setting of this process. Returns the settings before."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    os.environ.update(settings)
    return before


def make_child_environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
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
        **AWS_SETTINGS,
        **(more or {}),
    }


def _mute_version_check(home: Path) -> None:
    """SAM asks the package index for a newer version once a week, and no option stops it."""
    directory = home / ".aws-sam"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time(), "telemetryEnabled": False}))
