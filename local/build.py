"""`sam build` for this machine. Only a change of the requirements needs the package index."""

import fcntl
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from command_line.environment import make_child_environment, users_environment
from command_line.errors import CommandError
from command_line.processes import run_command
from command_line.project import STATE
from delivery import packaging

BUILD_CACHE = STATE / "build"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
# The platform tags that `sam build` accepts for Lambda.
_WHEEL_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
_MAX_UNPACKED_KEPT = 24
_COPY_STEP = "Running PythonPipBuilder:CopySource"


def architecture() -> str:
    """Return Lambda's name for this machine's architecture."""
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise CommandError(f"Lambda does not run on {machine}. Use an x86_64 or arm64 machine.")
    return _ARCHITECTURES[machine]


def can_run_lambda_wheels() -> bool:
    """Return whether this machine runs Linux with glibc, like Lambda. macOS and Alpine do not."""
    return platform.libc_ver()[0] == "glibc"


class Build:
    """The built functions and layers of a checkout, cached for all its stacks.

    They run on this machine, or with `for_containers` in Lambda's containers.
    """

    def __init__(self, project: Path, cache: Path, *, for_containers: bool = False) -> None:
        self.template = cache / ".aws-sam" / "build" / "template.yaml"
        self.unpacked = cache / "unpacked"
        self._project = project
        self._cache = cache
        self._uses_lambda_wheels = for_containers or can_run_lambda_wheels()
        self._log = cache / "build.log"
        self._unfinished = cache / "unfinished"
        self._fingerprint = cache / "fingerprint"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the build against other processes. The lock ends with the process."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def is_current(self) -> bool:
        """Return whether the build matches the sources, the requirements and the tools."""
        return self.template.exists() and _read_text(self._fingerprint) == self._compute_fingerprint()

    def make(self) -> None:
        """Build what changed. The caller holds the lock."""
        if self._unfinished.exists():
            # SAM would reuse the partial result of a failed or interrupted build.
            shutil.rmtree(self._cache / ".aws-sam", ignore_errors=True)
        self._fingerprint.unlink(missing_ok=True)
        self._unfinished.touch()
        self._log.write_bytes(b"")
        fingerprint = self._compute_fingerprint()
        wheels = self._download_wheels()
        # SAM leaves an empty temporary directory per function.
        with TemporaryDirectory(dir=self._cache) as scratch:
            self._sam_build(wheels, scratch)
        if not self._uses_lambda_wheels:
            self._replace_lambda_wheels(wheels)
        packaging.prepare(self.template, python=sys.executable, log=self._log)
        self._delete_oldest_unpacked()
        self._unfinished.unlink()
        self._fingerprint.write_text(fingerprint)

    def _sam_build(self, wheels: Path, scratch: str) -> None:
        run_command(
            [
                *("sam", "build", "--template-file", self._project / "template.yaml", "--cached", "--parallel"),
                *("--parameter-overrides", f"Runtime={RUNTIME} Architecture={architecture()}"),
            ],
            environment=self._environment({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri(), "TMPDIR": scratch}),
            directory=self._cache,
            log=self._log,
            label="sam build",
        )

    def fraction_built(self) -> float:
        """Return how much of `make` is done, from 0 to 1, according to SAM's log."""
        log = _read_text(self._log) or ""
        parts = [*self._project.glob("functions/*/handler.py"), *self._project.glob("layers/*")]
        return min(1.0, log.count(_COPY_STEP) / max(1, len(parts)))

    def _download_wheels(self) -> Path:
        """Download the wheels of all functions and layers once. `sam build` would query the package index each time."""
        requirements = sorted(self._project.glob("functions/*/requirements.txt"))
        requirements += sorted(self._project.glob("layers/*/requirements.txt"))
        digest = _digest([RUNTIME, architecture(), sys.platform, *_contents(self._project, requirements)])
        wheels = self._cache / "wheels"
        complete = wheels / ".complete"
        if _read_text(complete) == digest:
            return wheels
        shutil.rmtree(wheels, ignore_errors=True)
        wheels.mkdir(parents=True)
        files = [argument for path in requirements for argument in ("-r", path)]
        machine = "aarch64" if architecture() == "arm64" else "x86_64"
        lambdas = [f"--platform={platform_}_{machine}" for platform_ in _WHEEL_PLATFORMS]
        targets = [[*lambdas, "--implementation=cp", f"--python-version={RUNTIME.removeprefix('python')}"]]
        if not self._uses_lambda_wheels:
            targets.append([])
        for target in targets:
            run_command(
                [
                    *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"),
                    *("--require-hashes", "--only-binary=:all:", "--dest", wheels, *target, *files),
                ],
                # The user's environment holds the proxy and index settings.
                environment=users_environment(),
                directory=self._cache,
                log=self._log,
                label="Downloading the functions' requirements",
            )
        complete.write_text(digest)
        return wheels

    def _replace_lambda_wheels(self, wheels: Path) -> None:
        """Replace Lambda's wheels (Linux with glibc) with wheels for this machine."""
        built = self.template.parent
        for requirements in (*built.glob("*/requirements.txt"), *built.glob("*/python/requirements.txt")):
            run_command(
                [
                    *(sys.executable, "-m", "pip", "install", "--upgrade", "--no-deps", "--no-compile", "--no-index"),
                    *("--find-links", wheels, "--target", requirements.parent, "-r", requirements),
                ],
                environment=self._environment({}),
                directory=self._cache,
                log=self._log,
                label="Installing the functions' requirements",
            )

    def _delete_oldest_unpacked(self) -> None:
        """Delete old unpacked archives. The newest stay, because another stack may be running from one of them."""
        unpacked = sorted(self.unpacked.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in unpacked[_MAX_UNPACKED_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return make_child_environment(self._cache / "home", {"PIP_CONFIG_FILE": os.devnull, **more})

    def _compute_fingerprint(self) -> str:
        sources = [self._project / "template.yaml"]
        for folder in ("functions", "layers"):
            sources += sorted(path for path in (self._project / folder).rglob("*") if path.is_file())
        wanted = (path for path in sources if path.suffix != ".pyc")
        tools = [
            RUNTIME,
            architecture(),
            str(self._project),
            version("aws-sam-cli"),
            Path(packaging.__file__).read_text(),
        ]
        return _digest([*tools, *_contents(self._project, wanted)])


def make_container_build(project: Path, cache: Path) -> Build:
    """Return the build for Lambda's containers. It is the one in `cache` if this machine runs Lambda's wheels."""
    if can_run_lambda_wheels():
        return Build(project, cache)
    return Build(project, cache.with_name(f"{cache.name}-for-containers"), for_containers=True)


def _contents(project: Path, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield str(path.relative_to(project))
        yield hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
