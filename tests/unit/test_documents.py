"""The documents name only what exists, and the tables of the runbook are complete.

A name is text in backticks. Text of fenced blocks is checked for commands only.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from command_line.project import PROJECT
from delivery.rendering import template
from order_payments import payments
from order_payments.api.parameters import DEFAULT_LIMIT
from order_payments.api.requests import MAXIMUM_BODY_BYTES
from order_payments.audit.check import REFUND_WINDOW
from order_payments.audit.report import AUDIT_WINDOW
from order_payments.domain.orders import MAXIMUM_PRODUCTS
from order_payments.domain.products import MAXIMUM_NAME_LENGTH, MAXIMUM_STOCK
from order_payments.domain.refunds import MAXIMUM_REFUND_BYTES
from order_payments.place_order import MAXIMUM_LINES, MAXIMUM_QUANTITY
from order_payments.runtime import retry_budgets
from order_payments.runtime.metric_names import Count, Gauge, Latency
from order_payments.storage.dynamodb import DYNAMODB_CALL_SECONDS
from order_payments.storage.order_indexes import PLACED_SHARDS
from order_payments.storage.order_writes import REFUND_SHARDS, UNSETTLED_SHARDS
from order_payments.storage.orders_table import PENDING_REFUND_INTERVAL
from order_payments.storage.stock_adjustments_table import ADJUSTMENT_RETENTION

DOCUMENTS = {
    str(path.relative_to(PROJECT)): path
    for path in sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("layers/*/README.md")])
}
PRESENT = sorted(DOCUMENTS.keys() - {"CHANGELOG.md"})
"""Documents of the present state. The changelog names what was removed, too."""

CODE_FOLDERS = (".github", "bench", "command_line", "delivery", "functions", "harness", "layers", "local", "operations")
CODE_FILES = ("Makefile", "pyproject.toml", "samconfig.toml", "template.yaml")
CODE_SUFFIXES = {".py", ".yaml", ".toml", ".js", ".html", ".json", ".in", ""}

NAMES_OF_OTHERS = frozenset(
    {
        *("BlockedRequests", "DDBStreamBatchInfo", "startSequenceNumber", "endSequenceNumber"),  # AWS
        *("ROLLBACK_FAILED", "UPDATE_IN_PROGRESS"),  # CloudFormation's states
        "jwks_uri",  # OpenID Connect
        "stripe events resend",  # Stripe's command line
    }
)
"""Names in backticks that the code does not have."""

PROGRAMS = frozenset({"aws", "git", "make", "sam"})
"""Words that a command in backticks begins with. Other phrases in lower case are log messages."""

LEVELS = {"exception": "ERROR", "error": "ERROR", "warning": "WARNING", "info": "INFO", "debug": "DEBUG"}


def text_of(document: str) -> str:
    return DOCUMENTS[document].read_text()


def without_fences(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def fences(text: str) -> str:
    return "\n".join(re.findall(r"^ *```.*?^ *```", text, re.MULTILINE | re.DOTALL))


def inline_code(document: str) -> set[str]:
    return {code.strip() for code in re.findall(r"`([^`\n]+)`", without_fences(text_of(document)))}


def section(document: str, heading: str) -> str:
    """Return the text below a heading, up to the next heading of any level."""
    match = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text_of(document), re.MULTILINE | re.DOTALL)
    assert match, f"{document} has no section {heading}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all Markdown tables in a text, without rules."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.lstrip().startswith("|") and not re.fullmatch(r"[\s|:-]+", line)
    ]


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ +(.+?) *$", without_fences(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    found: set[str] = set()
    for heading in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


@cache
def code() -> Mapping[Path, str]:
    paths = [PROJECT / name for name in CODE_FILES]
    for folder in CODE_FOLDERS:
        paths += [path for path in (PROJECT / folder).rglob("*") if path.is_file() and path.suffix in CODE_SUFFIXES]
    return {path: path.read_text(errors="ignore") for path in paths}


@cache
def words_of_code() -> frozenset[str]:
    """Return the words of the code, the tests except this module, and the generated documents."""
    others = [*(PROJECT / "tests").rglob("*.py"), *(PROJECT / "docs").rglob("*.json")]
    texts = [path.read_text() for path in others if path != Path(__file__)]
    return frozenset(word for text in (*code().values(), *texts) for word in re.findall(r"[A-Za-z_]\w*", text))


@cache
def file_names() -> frozenset[str]:
    folders = (*CODE_FOLDERS, "tests", "docs", "events", ".github", ".ci")
    inside = (path.name for folder in folders for path in (PROJECT / folder).rglob("*") if path.is_file())
    return frozenset({*inside, *(path.name for path in PROJECT.iterdir() if path.is_file())})


@cache
def log_lines() -> Mapping[tuple[str, str], frozenset[str]]:
    """Return the folders in functions/ that write each (message, level) themselves; none for the layer."""
    found: dict[tuple[str, str], set[str]] = {}
    for path, text in code().items():
        parts = path.relative_to(PROJECT).parts
        if path.suffix == ".py" and parts[0] in ("functions", "layers"):
            for line in _log_lines_of(ast.parse(text)):
                found.setdefault(line, set()).update({parts[1]} if parts[0] == "functions" else ())
    return {line: frozenset(folders) for line, folders in found.items()}


def _log_lines_of(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module):
        match node:
            case ast.Call(ast.Attribute(ast.Name("logger"), method), [ast.Constant(str(message)), *_]) if (
                method in LEVELS
            ):
                yield message, LEVELS[method]
            case ast.Call(ast.Name("write_line"), [ast.Constant(str(level)), ast.Constant(str(message)), *_]):
                yield message, level


@cache
def commands() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Return the options of each command of the scripts in the project's root."""
    import local.cli
    import operations.cli

    scripts: dict[str, Mapping[str, frozenset[str]]] = {}
    for script, app in (("shop", local.cli.app), ("operate", operations.cli.app)):
        group: Any = typer.main.get_command(app)
        scripts[script] = {
            name: frozenset(option for parameter in command.params for option in parameter.opts)
            for name, command in group.commands.items()
        }
    return scripts


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document: str) -> None:
    text = without_fences(text_of(document))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = DOCUMENTS[document].parent / path if path else DOCUMENTS[document]
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)

    assert broken == []


def test_code_refers_to_documents_and_sections_that_exist() -> None:
    tests = {path: path.read_text() for path in (PROJECT / "tests").rglob("*.py") if path != Path(__file__)}
    broken = []
    for path, text in {**code(), **tests}.items():
        for name, heading in re.findall(r"(?<![\w/])((?:docs/)?[\w-]+\.md)\b(?:`?, \"([^\"]+)\")?", text):
            document = name if name in DOCUMENTS else f"docs/{name}"
            if document not in DOCUMENTS or (heading and heading not in headings(text_of(document))):
                broken.append(f"{path.relative_to(PROJECT)}: {name} {heading}")

    assert broken == []


@pytest.mark.parametrize("document", PRESENT)
def test_named_files_exist(document: str) -> None:
    missing = []
    for name in inline_code(document):
        if not re.fullmatch(r"[\w./-]+", name) or "NAME" in name:
            continue
        first, slash, _ = name.partition("/")
        if slash and first and first not in (".", "..", ".local") and (PROJECT / first).is_dir():
            if not any((root / name).exists() for root in (PROJECT, PROJECT / "layers/common/order_payments")):
                missing.append(name)
        elif re.fullmatch(r"[\w.-]+\.(py|md|yaml|toml)", name) and name not in file_names():
            missing.append(name)

    assert missing == []


@pytest.mark.parametrize("document", PRESENT)
def test_named_commands_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join([*inline_code(document), fences(text_of(document))])
    wrong = [f"make {name}" for name in re.findall(r"(?:^|[\s;(])make +([a-z][a-z-]*)", text) if name not in targets]
    for script, name, arguments in re.findall(r"\./(shop|operate) +([a-z][a-z-]*)([^\n|;&]*)", text):
        options = commands()[script].get(name)
        if options is None:
            wrong.append(f"./{script} {name}")
        else:
            wrong += [
                f"./{script} {name} {option}"
                for option in re.findall(r"(?<= )--[a-z-]+", arguments)
                if option not in {*options, "--help"}
            ]

    assert wrong == []


@pytest.mark.parametrize("document", PRESENT)
def test_names_in_backticks_exist_in_the_code(document: str) -> None:
    """Metrics, alarms, parameters, environment variables, error codes, fields, functions and constants."""
    unknown = {
        name
        for name in inline_code(document)
        if re.fullmatch(r"[A-Za-z_]\w+", name)
        and name not in words_of_code() | NAMES_OF_OTHERS
        and name not in fences(text_of(document))
    }

    assert unknown == set()


@pytest.mark.parametrize("document", PRESENT)
def test_named_log_messages_exist(document: str) -> None:
    messages = {message for message, _ in log_lines()}
    unknown = {
        name
        for name in inline_code(document)
        if re.fullmatch(r"[a-z]+(?:[,:;]? [a-z']+)+", name)
        and name.split()[0] not in PROGRAMS
        and name not in NAMES_OF_OTHERS
        and not any(message == name or message.startswith(f"{name}:") for message in messages)
    }

    assert unknown == set()


def test_operations_list_every_log_line_of_the_functions() -> None:
    table = {(row[0].strip("`"), row[1]): row[2] for row in rows(section("docs/operations.md", "Log lines"))[1:]}

    assert table.keys() == log_lines().keys()
    for line, folders in log_lines().items():
        for folder in folders:
            assert f"`{folder}`" in table[line], f"{line} is written by {folder}"


def test_operations_list_every_metric() -> None:
    cells = [row[0] for row in rows(section("docs/operations.md", "Dashboard and metrics"))[1:]]

    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == sorted([*Count, *Gauge, *Latency])


def test_operations_explain_every_alarm() -> None:
    resources = template()["Resources"]
    alarms = {name for name, resource in resources.items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    routed = {
        name.removesuffix("Function")
        for name, resource in resources.items()
        if any(event["Type"] == "Api" for event in resource.get("Properties", {}).get("Events", {}).values())
    }
    of_routes = {f"{name}{kind}" for name in routed for kind in ("ErrorsAlarm", "ThrottlesAlarm")}
    cells = [row[0] for row in rows(section("docs/operations.md", "Alarms"))]
    explained = [name for cell in cells for name in re.findall(r"`(…?\w+Alarm)`", cell)]

    assert sorted(explained) == sorted([*(alarms - of_routes), "…ErrorsAlarm", "…ThrottlesAlarm"])


def test_deployment_page_lists_every_parameter() -> None:
    cells = [row[0] for row in rows(section("docs/deploy.md", "Parameters"))[1:]]

    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == sorted(template()["Parameters"])


def test_settings_page_lists_every_environment_variable() -> None:
    document = template()
    functions = [
        resource["Properties"] for resource in document["Resources"].values() if "Function" in resource["Type"]
    ]
    environments = [each["Environment"]["Variables"] for each in functions if "Environment" in each]
    declared = set(document["Globals"]["Function"]["Environment"]["Variables"]).union(*environments)
    source = code()[PROJECT / "layers/common/order_payments/runtime/settings.py"]
    read = re.findall(r"environment(?:\.get\(|, )\"([A-Z_]+)\"", source)
    cells = [row[0] for row in rows(text_of("docs/settings.md"))[1:]]

    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == declared.union(read)


def test_webhook_events_to_subscribe_to_are_those_that_are_handled() -> None:
    from harness.functions import load_function

    documented = {name for name in inline_code("docs/deploy.md") if re.match(r"(payment_intent|refund|charge)\.", name)}

    assert documented == load_function("stripe_webhook").SUBSCRIBED_EVENTS


def test_numbers_in_sentences_are_those_of_the_code() -> None:
    from harness.functions import load_function

    stream = template()["Resources"]["PublishOrderEventsFunctionOrdersStream"]["Properties"]
    reconciler = load_function("reconcile_payments")
    timeout = template()["Resources"]["ReconcilePaymentsFunction"]["Properties"]["Timeout"]
    start_seconds = timeout - reconciler.RECONCILER_REPORT_SECONDS - reconciler.ORDER_TIME_LIMIT_SECONDS
    claim, settle = retry_budgets.CLAIM_BUDGET_SECONDS, retry_budgets.SETTLE_BUDGET_SECONDS
    pauses = [1000 * each for each in (retry_budgets.BACKOFF_FIRST_SECONDS, retry_budgets.BACKOFF_LONGEST_SECONDS)]
    capacity = template()["Mappings"]["Capacity"]["1000"]
    reserved = capacity["Payers"] + capacity["Webhooks"] + capacity["Authorizers"] + 3
    phrases = {
        "docs/api.md": [
            f"limits a body to {MAXIMUM_BODY_BYTES // 1024} KiB",
            f"1 to {MAXIMUM_LINES} lines",
            f"`quantity` is 1 to {MAXIMUM_QUANTITY:,}",
            f"at most {MAXIMUM_PRODUCTS} different products",
            f"`name`: one line of 1 to {MAXIMUM_NAME_LENGTH} characters",
            f"`stock`: 0 to {MAXIMUM_STOCK:,}",
            f"default {DEFAULT_LIMIT})",
            f"keeps each adjustment for {ADJUSTMENT_RETENTION.days} days",
        ],
        "docs/architecture.md": [
            f"handles attempts older than {payments.LEASE.seconds} seconds",
            f"up to {stream['BatchSize']} records",
            f"for {stream['MaximumRecordAgeInSeconds'] // 3600} hours at most",
            f"charges of the last {AUDIT_WINDOW.total_seconds() / 3600:.0f} hours",
            f"`{UNSETTLED_SHARDS[0]}` to `{UNSETTLED_SHARDS[-1]}`",
            " and ".join(f"`{shard}`" for shard in REFUND_SHARDS),
        ],
        "docs/capacity.md": [
            f"It reserves {reserved:,} executions",
            f"the index `unsettled`: {len(UNSETTLED_SHARDS)} shards",
            f"the index `by-placed`: {len(PLACED_SHARDS)} shards",
        ],
        "docs/decisions.md": [
            f"Short pauses, {claim:.0f} s to claim and {settle:.0f} s to settle",
            f"{reconciler.CONCURRENCY} threads",
            f"at most {MAXIMUM_PRODUCTS} different products",
            f"may take {MAXIMUM_REFUND_BYTES:,} bytes",
        ],
        "docs/operations.md": [
            f"`left` counts at most {reconciler.BATCH_SIZE:,} entries per shard",
            f"After {stream['MaximumRecordAgeInSeconds'] // 3600} hours",
        ],
        "docs/performance.md": [
            f"{pauses[0]:.0f} to {pauses[1]:.0f} ms, {claim:.0f} s to claim and {settle:.0f} s to settle",
            f"{template()['Resources']['ReconcilePaymentsFunction']['Properties']['MemorySize']:,} MB of memory",
            f"{reconciler.UNANSWERED_LIMIT} orders in succession",
        ],
        "docs/recovery.md": [
            f"by default of the last {AUDIT_WINDOW.total_seconds() / 3600:.0f} hours",
            f"refunds that changed in the last {REFUND_WINDOW.days} days",
        ],
        "docs/reliability.md": [
            f"for {claim:.0f} s (claim) or {settle:.0f} s (settle)",
            f"a call ends within {DYNAMODB_CALL_SECONDS:.0f} s",
            f"asks about it every {PENDING_REFUND_INTERVAL.total_seconds() / 60:.0f} minutes",
            f"only while {payments.TIME_TO_SETTLE_SECONDS:.0f} s are left",
            f"up to {reconciler.CONCURRENCY} at the same time",
            f"for {start_seconds:.0f} seconds, each with {reconciler.ORDER_TIME_LIMIT_SECONDS:.0f} seconds left",
        ],
    }

    missing = [
        f"{document}: {phrase}"
        for document, expected in phrases.items()
        for phrase in expected
        if phrase not in " ".join(text_of(document).split())
    ]

    assert missing == []


def test_capacity_page_has_the_figures_of_the_template() -> None:
    capacity = template()["Mappings"]["Capacity"]
    table = {row[0]: [cell.replace(",", "") for cell in row[1:5]] for row in rows(text_of("docs/capacity.md"))}

    def figures(key: str, factor: int = 1) -> list[str]:
        return [str(factor * int(level[key]) or "none") for level in capacity.values()]

    assert table["`PaymentsPerSecond`"] == list(capacity)
    assert table["requests per second that Stripe must allow"] == figures("PaymentRate", factor=2)
    assert table["throttle of payments per second"] == figures("PaymentRate")
    assert table["orders per second that the reconciler settles"] == figures("Reconciled")
    assert table["throttle of each other route per second"] == figures("Rate")
    assert table["reserved concurrency of `initiate_payment`"] == figures("Payers")
    assert table["reserved concurrency of `stripe_webhook`"] == figures("Webhooks")
    assert table["reserved concurrency of the authorizer"] == figures("Authorizers")


def recorded_figures() -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = json.loads((PROJECT / "bench" / "results.json").read_text())["figures"]
    return figures


def test_performance_page_has_the_recorded_backlog() -> None:
    values = [figure["value"] for figure in recorded_figures() if figure["family"] == "backlog"]
    texts = [f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:#.3g}" for value in values]

    assert texts
    assert [text for text in texts if text not in section("docs/performance.md", "Backlog")] == []


def test_performance_page_has_the_limits_and_what_was_measured() -> None:
    table = [(row[0].split()[0], row[2].split()[0]) for row in rows(section("docs/performance.md", "Limits"))[1:]]
    figures = [figure for figure in recorded_figures() if figure["limit"] and figure["family"] != "backlog"]
    missing = [figure["name"] for figure in figures if not any(is_row_of(figure, row) for row in table)]

    assert figures
    assert missing == []
    assert {float(limit) for limit, _ in table} == {figure["limit"] for figure in recorded_figures() if figure["limit"]}


def is_row_of(figure: Mapping[str, Any], row: tuple[str, str]) -> bool:
    """Return whether a row has the figure's limit, and its value at the row's precision."""
    limit, value = row
    return float(limit) == figure["limit"] and value == f"{figure['value']:.{len(value.partition('.')[2])}f}"


def test_performance_page_has_the_recorded_contention() -> None:
    """Rows of seven figures: 503 and 202 in per cent, tries, tries and payments per second, p50 and p99 in seconds."""
    page = [row for row in rows(section("docs/performance.md", "Hot product")) if row[1].isdigit()]
    shown = {tuple(re.sub(r"[^\d.]", "", cell) for cell in row[2:]) for row in page}
    points: dict[str, list[float]] = {}
    for figure in recorded_figures():
        point = figure["name"].partition(": ")[0]
        # The cases with a slow Stripe are described in a sentence.
        if figure["family"] == "contention" and "Stripe" not in point:
            points.setdefault(point, []).append(figure["value"])
    recorded = set()
    for unavailable, unknown, p50, p99, tries, tries_per_second, paid_per_second in points.values():
        percent = [f"{value:.1f}" if value else "0" for value in (unavailable, unknown)]
        rates = [f"{tries:.1f}", f"{tries_per_second:.0f}", f"{paid_per_second:.1f}"]
        recorded.add((*percent, *rates, f"{p50:.2f}", f"{p99:.2f}"))

    assert shown == recorded
