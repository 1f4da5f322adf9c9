"""What the scanners are told to let be, and why."""

import re

import yaml

from command_line.project import PROJECT

TEXT = (PROJECT / ".checkov.yaml").read_text()
SHORTEST_REASON = 20


def reasons() -> dict[str, str]:
    """By check that is skipped, what is said about it: behind it, or above it and its neighbours."""
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


def test_every_check_that_is_skipped_says_why() -> None:
    assert list(reasons()) == yaml.safe_load(TEXT)["skip-check"]
    assert {check: why for check, why in reasons().items() if len(why) < SHORTEST_REASON} == {}


def test_no_resource_lets_a_check_be_by_itself() -> None:
    for template in ("template.yaml", "delivery/github.yaml"):
        assert "checkov" not in (PROJECT / template).read_text()
        assert "cfn-lint" not in (PROJECT / template).read_text()


def test_all_requirements_are_looked_through_for_vulnerabilities() -> None:
    rule = (PROJECT / "Makefile").read_text().partition("\nvulnerabilities:")[2].partition("\n\n")[0]
    patterns = re.findall(r"wildcard ([^)]+)\)", rule)[0].split()
    audited = {path for pattern in patterns for path in PROJECT.glob(pattern)}

    assert audited == {
        path for path in PROJECT.rglob("requirements*.txt") if not any(part.startswith(".") for part in path.parts)
    }
