"""`sam build` for this machine: once with the package index, from then on without any network."""

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
# What `sam build` takes for Lambda, by the machine's name in wheel tags.
_WHEEL_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
_UNPACKED_KEPT = 24
_PART_IS_BUILT = "Running PythonPipBuilder:CopySource"


def architecture() -> str:
    """This machine's, by Lambda's name for it."""
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise CommandError(f"Lambda has no architecture like this machine's ({machine}).")
    return _ARCHITECTURES[machine]


def can_run_lambda_wheels() -> bool:
    """Whether this machine, like Lambda, is a Linux with glibc. macOS and Alpine are not."""
    return platform.libc_ver()[0] == "glibc"


class Build:
    """The built functions and layers of a checkout, kept in `.local/build` and shared by all who run it.

    They run on this machine; with `for_containers`, on Lambda and in containers that are like it.
    """

    def __init__(self, project: Path, cache: Path, *, for_containers: bool = False) -> None:
        self.template = cache / ".aws-sam" / "build" / "template.yaml"
        self.unpacked = cache / "unpacked"
        self._project = project
        self._cache = cache
        self._takes_lambdas_wheels = for_containers or can_run_lambda_wheels()
        self._log = cache / "build.log"
        self._unfinished = cache / "unfinished"
        self._fingerprint = cache / "fingerprint"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from building while this one is made or read. The lock goes with the process that holds it."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def is_current(self) -> bool:
        """Whether it is what building now would make."""
        return self.template.exists() and _text(self._fingerprint) == self._fingerprint_now()

    def make(self) -> None:
        """Build what has changed. The caller holds the lock."""
        if self._unfinished.exists():
            # SAM keeps what a build that failed or was cut off has installed so far, and takes it for complete.
            shutil.rmtree(self._cache / ".aws-sam", ignore_errors=True)
        self._fingerprint.unlink(missing_ok=True)
        self._unfinished.touch()
        self._log.write_bytes(b"")
        now = self._fingerprint_now()
        wheels = self._download_wheels()
        # SAM leaves an empty directory for each function behind.
        with TemporaryDirectory(dir=self._cache) as scratch:
            self._sam_build(wheels, scratch)
        if not self._takes_lambdas_wheels:
            self._install_wheels_of_this_machine(wheels)
        packaging.prepare(self.template, python=sys.executable, log=self._log)
        self._forget_oldest()
        self._unfinished.unlink()
        self._fingerprint.write_text(now)

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
        """How much of `make` is done, from 0 to 1, by what SAM says of each function and layer."""
        log = _text(self._log) or ""
        parts = [*self._project.glob("functions/*/handler.py"), *self._project.glob("layers/*")]
        return min(1.0, log.count(_PART_IS_BUILT) / max(1, len(parts)))

    def _download_wheels(self) -> Path:
        """All that the functions and layers require, as files: `sam build` would ask the index each time."""
        requirements = sorted(self._project.glob("functions/*/requirements.txt"))
        requirements += sorted(self._project.glob("layers/*/requirements.txt"))
        digest = _digest([RUNTIME, architecture(), sys.platform, *_contents(self._project, requirements)])
        wheels = self._cache / "wheels"
        complete = wheels / ".complete"
        if _text(complete) == digest:
            return wheels
        shutil.rmtree(wheels, ignore_errors=True)
        wheels.mkdir(parents=True)
        files = [argument for path in requirements for argument in ("-r", path)]
        machine = "aarch64" if architecture() == "arm64" else "x86_64"
        lambdas = [f"--platform={platform_}_{machine}" for platform_ in _WHEEL_PLATFORMS]
        targets = [[*lambdas, "--implementation=cp", f"--python-version={RUNTIME.removeprefix('python')}"]]
        if not self._takes_lambdas_wheels:
            targets.append([])
        for target in targets:
            run_command(
                [
                    *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"),
                    *("--require-hashes", "--only-binary=:all:", "--dest", wheels, *target, *files),
                ],
                # The user's own environment: how to reach the package index is theirs to say.
                environment=users_environment(),
                directory=self._cache,
                log=self._log,
                label="Downloading the functions' requirements",
            )
        complete.write_text(digest)
        return wheels

    def _install_wheels_of_this_machine(self, wheels: Path) -> None:
        """Put wheels that run here in the place of Lambda's, which hold Linux's machine code (glibc)."""
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

    def _forget_oldest(self) -> None:
        """Keep what several builds of late were unpacked to: another stack may be running on one of them."""
        unpacked = sorted(self.unpacked.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in unpacked[_UNPACKED_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return make_child_environment(self._cache / "home", {"PIP_CONFIG_FILE": os.devnull, **more})

    def _fingerprint_now(self) -> str:
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
    """What runs in Lambda's containers: the build in `cache`, where this machine is like them, or one beside it."""
    if can_run_lambda_wheels():
        return Build(project, cache)
    return Build(project, cache.with_name(f"{cache.name}-for-containers"), for_containers=True)


def _contents(project: Path, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield str(path.relative_to(project))
        yield hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
