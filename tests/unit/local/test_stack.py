"""Stacks and child processes: one stack per folder, cleanup after a run, signals and the environment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line.environment import make_child_environment
from command_line.errors import CommandError
from command_line.processes import run_command, start_process
from local.running import is_running, require_running_stack
from local.stack import start_stack

HOLDER = """
import sys
from pathlib import Path
from local.running import lock_state
with lock_state(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_files_of_a_killed_run_are_not_a_running_stack(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{}")
    (tmp_path / "lock").touch()
    assert not is_running(tmp_path)


def test_second_stack_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"apiUrl": "http://127.0.0.1:3400/v1"}')
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_running(tmp_path)
        with pytest.raises(CommandError, match=r"already running at http://127\.0\.0\.1:3400/\. "):
            start_stack(state=tmp_path).__enter__()
        holder.kill()
    assert not is_running(tmp_path)


@pytest.mark.parametrize(("is_starting", "advice"), [(True, "The stack is starting"), (False, "Start it in another")])
def test_command_without_a_ready_stack_advises_to_wait_or_to_start_it(
    monkeypatch: pytest.MonkeyPatch, advice: str, *, is_starting: bool
) -> None:
    monkeypatch.setattr("local.running.is_running", lambda _=None: is_starting)
    monkeypatch.setattr("local.running.find_running_stack", lambda: None)

    with pytest.raises(CommandError, match=advice):
        require_running_stack()


def test_failed_command_is_reported_with_the_end_of_its_output(tmp_path: Path) -> None:
    script = "import sys; print('line of output'); sys.exit(3)"
    with pytest.raises(CommandError, match=r"(?s)it failed with exit code 3.*line of output"):
        run_command(
            [sys.executable, "-c", script],
            environment=os.environ,
            directory=tmp_path,
            log=tmp_path / "log",
            label="it",
        )


def test_missing_program_is_reported_with_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no-such-program is not installed\..*make setup"):
        run_command(["no-such-program"], environment={}, directory=tmp_path, log=tmp_path / "log", label="it")


def test_child_processes_of_a_command_end_with_it(tmp_path: Path) -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    log = tmp_path / "log"
    with start_process(
        [sys.executable, "-c", script], environment=os.environ, directory=tmp_path, log=log, stop_seconds=0
    ):
        deadline = time.monotonic() + 10
        while not log.read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.01)
        grandchild = int(log.read_text())
    while _exists(grandchild) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _exists(grandchild)


def test_command_in_the_foreground_can_clean_up_before_it_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """
import signal, sys, time
def tidy_up(*_):
    time.sleep(0.2)
    sys.exit("tidied up")
signal.signal(signal.SIGTERM, tidy_up)
print("started", flush=True)
signal.pause()
"""
    seen = ""
    with start_process([sys.executable, "-c", script], environment={}, directory=tmp_path, log=None, stop_seconds=10):
        deadline = time.monotonic() + 10
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)
            seen = capfd.readouterr().out
    assert seen == "started\n"
    assert capfd.readouterr().err == "tidied up\n"


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_during_the_start_of_a_process_is_deferred(number: signal.Signals) -> None:
    script = f"""
import os, signal
from command_line.signals import Stopped, defer_signals, stop_on_signals
stop_on_signals()
try:
    with defer_signals():
        os.kill(os.getpid(), {int(number)})
        print("started")
except Stopped as stopped:
    print(stopped)
"""
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout.split() == ["started", number.name]


def test_child_environment_has_no_aws_settings_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    environment = make_child_environment(tmp_path)
    assert environment["AWS_ACCESS_KEY_ID"] == "local"
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & set(environment)
    assert environment["HOME"] == str(tmp_path)


def test_sam_does_not_check_for_newer_versions(tmp_path: Path) -> None:
    make_child_environment(tmp_path)
    metadata = json.loads((tmp_path / ".aws-sam" / "metadata.json").read_text())
    assert time.time() - metadata["lastVersionCheck"] < 60
    assert metadata["telemetryEnabled"] is False
