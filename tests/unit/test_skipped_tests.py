"""Tests that this machine cannot run are skipped with a reason, except on CI."""

import subprocess
from pathlib import Path

import pytest

from tests import conftest
from tests.support import previous_release


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project folder without the previous release."""
    monkeypatch.setattr(previous_release, "PROJECT", tmp_path)
    monkeypatch.setattr(previous_release, "_DIRECTORY", tmp_path / "release")
    return tmp_path


def test_source_archive_in_another_repository_has_no_previous_release(project: Path) -> None:
    assert project.is_dir()
    assert not previous_release.is_available()


def test_history_without_its_commit_has_no_previous_release(project: Path) -> None:
    subprocess.run(["git", "init", "--quiet", project], check=True)

    assert not previous_release.is_available()


@pytest.mark.usefixtures("project")
def test_machine_without_git_has_no_previous_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert not previous_release.is_available()


@pytest.mark.usefixtures("project")
def test_update_tests_are_skipped_without_git_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)

    assert "git history" in conftest.skip_reasons.__wrapped__()[conftest.UPDATE_TESTS]


@pytest.mark.usefixtures("project")
def test_ci_skips_neither_update_nor_engine_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(conftest, "find_missing_programs", lambda _: ["java"])

    assert not {conftest.UPDATE_TESTS, conftest.ENGINE_TESTS} & conftest.skip_reasons.__wrapped__().keys()
