"""The pages that the local stack serves beside the API, and access to the private ones."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import jwt
import pytest
import stripe

from command_line.project import PROJECT
from dummy_stripe import CARDS, PAYMENT_METHODS, MemoryStore
from dummy_stripe.cards import Fault
from dummy_stripe.http_client import DummyStripeHTTPClient
from dummy_stripe.payment_intents import apply_due_changes
from local.console import data as console_data
from local.console.pages import build_pages
from local.gateway.guard import is_from_here
from local.gateway.page import WebPage
from local.gateway.proxy import Proxy, Upstream, bind_port, serve_in_thread
from local.tokens import AUDIENCE, TokenIssuer
from order_payments.domain.money import TABLE

CONSOLE = PROJECT / "local" / "console" / "web"
USERS = {"buyer": ("buyer-1", ("buyer",)), "admin": ("admin-1", ("admin",))}
HERE = [(b"host", b"127.0.0.1:3000")]


def all_pages() -> dict[str, WebPage]:
    session, ledger = b'{"users": []}', b'{"intents": null}'
    return dict(build_pages(lambda: session, lambda: ledger))


@pytest.fixture
def site() -> Iterator[httpx.Client]:
    """Return a client of the pages, served without an API behind them."""
    with socket.create_server(("127.0.0.1", 0)) as unused, bind_port(0) as bound:
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        upstream = Upstream(unused.getsockname()[1], "abcd1234", "v1", {}, "key")
        with (
            serve_in_thread(Proxy(upstream, all_pages()), bound),
            httpx.Client(base_url=address, trust_env=False) as client,
        ):
            yield client


@pytest.mark.parametrize("host", [b"127.0.0.1:3000", b"localhost:3000", b"LOCALHOST", b"[::1]:3000", b"localhost:8080"])
@pytest.mark.parametrize("site", [b"same-origin", b"none", None])
def test_own_pages_and_local_programs_get_private_pages(host: bytes, site: bytes | None) -> None:
    sent = [] if site is None else [(b"Sec-Fetch-Site", site)]
    assert is_from_here([(b"Host", host), *sent])


@pytest.mark.parametrize("host", [b"127.0.0.1:3000", b"LOCALHOST:3000", b"[::1]:3000", b"localhost"])
@pytest.mark.parametrize("scheme", [b"http", b"https"])
def test_page_with_the_stacks_origin_gets_private_pages(host: bytes, scheme: bytes) -> None:
    assert is_from_here([(b"Host", host), (b"Origin", scheme + b"://" + host.lower())])


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"http://127.0.0.1.evil.example:3000",
        b"http://127.0.0.1:8080",
        b"http://127.0.0.1",
        b"http://localhost:3000",
        b"null",
        b"",
        b"file://",
    ],
)
@pytest.mark.parametrize("sites", [[], [(b"sec-fetch-site", b"same-origin")]])
def test_page_with_another_origin_gets_no_private_page(origin: bytes, sites: list[tuple[bytes, bytes]]) -> None:
    assert not is_from_here([*HERE, *sites, (b"origin", origin)])
    assert not is_from_here([*HERE, *sites, (b"origin", b"http://127.0.0.1:3000"), (b"Origin", origin)])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"evil.example:3000")],
        [(b"host", b"127.0.0.1.evil.example")],
        [(b"host", b"localhost.evil.example:3000")],
        [(b"host", b"evil.example:127.0.0.1")],
        [(b"host", b"")],
        [],
        [*HERE, (b"host", b"evil.example")],
        [*HERE, (b"sec-fetch-site", b"cross-site")],
        [*HERE, (b"sec-fetch-site", b"same-site")],
        [*HERE, (b"sec-fetch-site", b"same-origin"), (b"Sec-Fetch-Site", b"cross-site")],
    ],
)
def test_foreign_pages_get_no_private_page(headers: list[tuple[bytes, bytes]]) -> None:
    reads: list[bytes] = []
    page = WebPage("application/json", lambda: reads.append(b"") or b"secret", private=True)

    status, response_headers, body = page.respond(headers)

    assert (status, reads) == (403, [])
    assert b"secret" not in body
    assert (b"cache-control", b"no-store") in response_headers


def test_private_pages_are_not_cached_or_readable_by_other_origins() -> None:
    private = {path: page for path, page in all_pages().items() if page.private}
    assert set(private) == {"/session.json", "/stripe/ledger.json"}
    for page in private.values():
        status, response_headers, _ = page.respond(HERE)
        headers = dict(response_headers)
        assert status == 200
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"cross-origin-resource-policy"] == b"same-origin"
        assert not any(name.startswith(b"access-control") for name in headers)


@pytest.mark.parametrize("path", ["/", "/office"])
def test_console_loads_only_own_resources_and_cannot_be_framed(site: httpx.Client, path: str) -> None:
    response = site.get(path)
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'self'", "'none'")
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/office"])
def test_console_pages_contain_the_parts_they_share(site: httpx.Client, path: str) -> None:
    page = site.get(path).text
    shared = [file for file in CONSOLE.glob("*.html") if file.name not in ("index.html", "office.html")]
    assert shared
    assert all(file.read_text() in page for file in shared)
    assert "<!-- include" not in page


def test_pages_support_get_and_head(site: httpx.Client) -> None:
    head = site.head("/console/style.css")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == (CONSOLE / "style.css").stat().st_size
    assert site.get("/session.json").json() == {"users": []}


@pytest.mark.parametrize("path", ["/session.json", "/stripe/ledger.json"])
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=lambda headers: next(iter(headers)),
)
def test_foreign_pages_get_a_403_problem(site: httpx.Client, path: str, headers: dict[str, str]) -> None:
    response = site.get(path, headers=headers)
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in response.headers


def test_files_that_the_console_references_exist() -> None:
    served = all_pages()
    for file in CONSOLE.iterdir():
        text = file.read_text()
        named = re.findall(r"""["'](/(?:console|stripe|session|docs|office)[\w./-]*)["']""", text)
        imported = [f"/console/{name}" for name in re.findall(r'from "\./([\w.]+)"', text)]
        assert set(named + imported) <= set(served), file.name


def test_console_scripts_do_not_build_html_from_text() -> None:
    for file in CONSOLE.iterdir():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|\sstyle=", file.read_text()), (
            file.name
        )


def test_changed_file_is_served_at_once(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    page = WebPage("text/html", file.read_bytes)
    file.write_text("before")
    assert page.respond([])[2] == b"before"
    file.write_text("after")
    assert page.respond([])[2] == b"after"


def test_session_has_valid_tokens_of_all_users_and_an_expired_one() -> None:
    identity = TokenIssuer.generate()
    users = json.loads(console_data.session(identity, USERS))["users"]
    key = identity.key.public_key()

    assert [user["name"] for user in users] == ["buyer", "admin", "expired"]
    for user in users[:-1]:
        claims = jwt.decode(user["token"], key, algorithms=["RS256"], audience=AUDIENCE)
        assert (claims["sub"], claims["roles"]) == (user["sub"], user["roles"])
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(users[-1]["token"], key, algorithms=["RS256"], audience=AUDIENCE, leeway=timedelta(minutes=4))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def pay(store: MemoryStore, card: str) -> str:
    """Pay an intent as the service does, and return its id."""
    client = stripe.StripeClient("sk_test_x", http_client=DummyStripeHTTPClient(store))
    intent = client.v1.payment_intents.create(
        {
            "amount": 4599,
            "currency": "usd",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"orderId": "ord_1", "buyerId": "alice"},
        }
    )
    with suppress(stripe.CardError):
        client.v1.payment_intents.confirm(intent.id, {"payment_method": card})
    return intent.id


def test_ledger_has_the_intents_with_their_charges(store: MemoryStore) -> None:
    paid, declined = pay(store, "pm_card_visa"), pay(store, "pm_card_chargeDeclinedExpiredCard")

    shown = {intent["id"]: intent for intent in json.loads(console_data.ledger(store))["intents"]}

    assert shown[paid]["status"] == "succeeded"
    assert (shown[paid]["orderId"], shown[paid]["buyerId"], shown[paid]["amount"]) == ("ord_1", "alice", 4599)
    (charge,) = shown[paid]["charges"]
    assert (charge["status"], charge["amount"], charge["amountRefunded"]) == ("succeeded", 4599, 0)
    assert (charge["paymentMethod"], charge["failureCode"]) == ("pm_card_visa", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", charge["createdAt"])
    assert shown[declined]["charges"][0]["failureCode"] == "expired_card"
    assert "client_secret" not in json.dumps(shown)


def test_ledger_has_the_newest_intents(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_data, "MAX_INTENTS", 2)
    ids = [pay(store, "pm_card_visa") for _ in range(3)]
    assert [intent["id"] for intent in json.loads(console_data.ledger(store))["intents"]] == [ids[2], ids[1]]


@pytest.mark.parametrize(
    "card",
    [card for group in json.loads(console_data.cards()) for card in group["cards"] if "note" in card],
    ids=lambda card: card["id"],
)
def test_console_notes_state_correctly_if_a_fault_charges_the_card(store: MemoryStore, card: dict[str, str]) -> None:
    with suppress(stripe.StripeError):
        pay(store, card["id"])

    (intent,) = store.intents()
    minute_later = apply_due_changes(intent, time.time() + 61)

    charged = minute_later.status == "succeeded"
    assert card["outcome"].startswith("charged" if charged else "not charged")
    fault = PAYMENT_METHODS[card["id"]].fault
    assert ("outcome not reported" in card["outcome"]) == (fault not in {Fault.SLOW, Fault.RATE_LIMITED})
    assert ("nothing is charged" in card["note"] or "charges nothing" in card["note"]) == (not charged)
    if fault is Fault.RATE_LIMITED:
        assert "can be paid again" in card["note"]
    else:
        assert f"is {'confirmed' if charged else 'cancelled'}" in card["note"]


def test_console_gets_the_decimals_of_every_currency(site: httpx.Client) -> None:
    response = site.get("/console/currencies.js")

    exported = response.text.removeprefix("export const DECIMALS = ").rstrip(";\n")
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert json.loads(exported) == {code: rules.decimals for code, rules in TABLE.items()}


def test_ledger_is_null_with_another_stripe_backend() -> None:
    assert json.loads(console_data.ledger(None)) == {"intents": None}


def test_console_offers_every_card_and_an_unknown_one() -> None:
    groups = {group["label"]: [card["id"] for card in group["cards"]] for group in json.loads(console_data.cards())}
    (unknown,) = groups.pop("Stripe refuses")

    assert unknown not in PAYMENT_METHODS
    assert {label: [PAYMENT_METHODS[token] for token in tokens] for label, tokens in groups.items()} == {
        "Succeeds": [card for card in CARDS if not (card.decline or card.requires_action or card.fault)],
        "Is declined": [card for card in CARDS if card.decline or card.requires_action],
        "Stripe fails": [card for card in CARDS if card.fault],
    }
