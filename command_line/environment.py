"""Isolated environment for child processes.

It contains no AWS profile, proxy, package index or option of the user, so that AWS calls stay on this machine.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOCAL_REGION = "us-east-1"
# The emulator accepts any credentials. The user's own must not be sent to it.
ACCESS_KEY_ID = "local"
SECRET_ACCESS_KEY = "local"  # noqa: S105

AWS_SETTINGS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    "AWS_DEFAULT_REGION": LOCAL_REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""AWS SDK settings for calls to this machine."""

_INHERITED_VARIABLES = ("LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")

_users_aws_settings: dict[str, str] | None = None


def use_local_aws_settings() -> None:
    """Make this process ignore the user's AWS settings.

    The SDK reads them even if a client gets every setting as an argument, and fails on an unknown profile or value.
    """
    global _users_aws_settings
    if _users_aws_settings is None:
        _users_aws_settings = _replace_aws_settings(AWS_SETTINGS)


@contextmanager
def users_aws_settings() -> Iterator[None]:
    """Restore the user's AWS settings inside the block, for calls to the user's AWS account."""
    if _users_aws_settings is None:
        yield
        return
    local_settings = _replace_aws_settings(_users_aws_settings)
    try:
        yield
    finally:
        _replace_aws_settings(local_settings)


def users_environment() -> dict[str, str]:
    """Return the environment that this process started with."""
    with users_aws_settings():
        return dict(os.environ)


def _replace_aws_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Replace the AWS settings of this process and return the previous ones."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("AWS_")}
    os.environ.update(settings)
    return before


def make_child_environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment with the virtual environment on its PATH and `home` as HOME."""
    _mute_version_check(home)
    return {
        **{name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ},
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
    """Keep SAM from its weekly version check at the package index. No option disables the check."""
    directory = home / ".aws-sam"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time(), "telemetryEnabled": False}))
