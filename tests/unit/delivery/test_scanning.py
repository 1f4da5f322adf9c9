"""Exceptions of the security scanners, and their reasons."""

import re

import yaml

from command_line.project import PROJECT

TEXT = (PROJECT / ".checkov.yaml").read_text()
MIN_REASON_CHARACTERS = 20


def reasons() -> dict[str, str]:
    """Return the reason of each skipped check, from the comment beside it or above its group."""
    found = {}
    above = ""
    previous_was_comment = False
    for line in TEXT.partition("skip-check:")[2].splitlines():
        if line.strip().startswith("#"):
            above = f"{above if previous_was_comment else ''} {line.strip(' #')}"
            previous_was_comment = True
        elif entry := re.match(r"\s+- (\w+)\s*(?:# (.*))?$", line):
            found[entry[1]] = entry[2] or above
            previous_was_comment = False
    return found


def test_every_skipped_check_has_a_reason() -> None:
    assert list(reasons()) == yaml.safe_load(TEXT)["skip-check"]
    assert {check: reason for check, reason in reasons().items() if len(reason) < MIN_REASON_CHARACTERS} == {}


def test_no_resource_suppresses_a_check() -> None:
    for template in ("template.yaml", "delivery/github.yaml"):
        assert "checkov" not in (PROJECT / template).read_text()
        assert "cfn-lint" not in (PROJECT / template).read_text()


def test_vulnerability_scan_covers_all_requirements() -> None:
    rule = (PROJECT / "Makefile").read_text().partition("\nvulnerabilities:")[2].partition("\n\n")[0]
    patterns = re.findall(r"wildcard ([^)]+)\)", rule)[0].split()
    audited = {path for pattern in patterns for path in PROJECT.glob(pattern)}

    assert audited == {
        path for path in PROJECT.rglob("requirements*.txt") if not any(part.startswith(".") for part in path.parts)
    }
