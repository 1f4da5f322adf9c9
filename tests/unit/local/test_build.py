"""The build is repeated only if its sources or requirements changed."""

from pathlib import Path

import pytest

from local import build
from local.build import Build, make_container_build


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "a project"
    for path, text in (
        ("template.yaml", "Resources: {}"),
        ("functions/pay/handler.py", "one"),
        ("functions/pay/requirements.txt", ""),
        ("layers/common/package/module.py", "two"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list that receives the commands; `sam build` leaves a template behind."""
    run: list[list[str]] = []

    def record(command: list[object], *, directory: Path, **_: object) -> None:
        run.append([str(part) for part in command])
        if command[0] == "sam":
            out = directory / ".aws-sam" / "build"
            out.mkdir(parents=True, exist_ok=True)
            (out / "template.yaml").write_text("Resources: {}")

    monkeypatch.setattr(build, "run_command", record)
    return run


def make(project: Path, cache: Path) -> Build:
    made = Build(project, cache)
    with made.lock():
        made.make()
    return made


def test_build_is_current_until_a_source_changes(project: Path, tmp_path: Path, commands: list[list[str]]) -> None:
    made = Build(project, tmp_path / "cache")
    assert not made.is_current()
    made = make(project, tmp_path / "cache")
    assert made.is_current()
    (project / "layers/common/package/__pycache__").mkdir()
    (project / "layers/common/package/__pycache__/module.pyc").write_bytes(b"bytecode")
    assert made.is_current()
    (project / "functions/pay/handler.py").write_text("changed")
    assert not made.is_current()
    assert len([command for command in commands if command[0] == "sam"]) == 1


def test_wheels_are_downloaded_once_for_the_same_requirements(
    project: Path, tmp_path: Path, commands: list[list[str]]
) -> None:
    make(project, tmp_path / "cache")
    (project / "functions/pay/handler.py").write_text("changed")
    make(project, tmp_path / "cache")
    assert [command[0] for command in commands].count("sam") == 2
    downloads = sum("download" in command for command in commands)
    (project / "functions/pay/requirements.txt").write_text("boto3==1.0")
    make(project, tmp_path / "cache")
    assert sum("download" in command for command in commands) == 2 * downloads > 0


def test_files_of_an_interrupted_build_are_not_used(
    project: Path, tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"

    def fail(*_: object, **__: object) -> None:
        (cache / ".aws-sam/deps/partial").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "run_command", fail)
        with pytest.raises(KeyboardInterrupt):
            make(project, cache)
    assert not Build(project, cache).is_current()
    make(project, cache)
    assert commands
    assert not (cache / ".aws-sam/deps/partial").exists()


def test_containers_get_their_own_build_on_a_machine_unlike_lambda(
    project: Path, tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "can_run_lambda_wheels", lambda: False)
    cache = tmp_path / "cache"
    make(project, cache)
    assert sum("download" in command for command in commands) == 2
    commands.clear()
    container_build = make_container_build(project, cache)
    with container_build.lock():
        container_build.make()
    assert not container_build.template.is_relative_to(cache)
    assert sum("download" in command for command in commands) == 1
    assert not any("install" in command for command in commands)


def test_containers_share_the_build_on_a_machine_like_lambda(
    project: Path, tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "can_run_lambda_wheels", lambda: True)
    make(project, tmp_path / "cache")
    assert commands
    assert make_container_build(project, tmp_path / "cache").is_current()
