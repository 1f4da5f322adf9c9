"""Commands that list, order, pay, show and settle, on a fake API."""

import json
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from typer.testing import CliRunner, Result

from command_line.errors import CommandError
from local import cli
from local.tokens import TokenIssuer

ISSUER = TokenIssuer.generate()
DESCRIPTION = {
    "apiUrl": "http://api/v1",
    "jwks": ISSUER.jwks(),
    "issuer": ISSUER.issuer,
    "audience": ISSUER.audience,
}
ROLES = {"GET /products": "buyer seller admin", **dict.fromkeys(("PUT /admin", "GET /admin", "POST /admin"), "admin")}
PENDING, CONFIRMED, IN_FLIGHT, UNKNOWN, EXPIRED = (f"ord_{number:032x}" for number in range(5))
WITHOUT_USER = jwt.encode({"roles": ["buyer"]}, "k" * 32)


class FakeApi:
    """An API with two products and the orders that a test adds. It checks the role and the owner."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        """Method and path, user id, and body of each request."""
        self.keys: list[str | None] = []
        """Idempotency key of each request."""
        self.payment: tuple[int, str] = (200, "")
        """Status and error code of the next payment."""

    def add(
        self,
        order_id: str,
        *,
        buyer: str = "buyer-1",
        status: str = "pending",
        intent: str | None = None,
        expires_at: str = "2100-01-01T00:00:00.000Z",
    ) -> None:
        self.orders.insert(
            0,
            {
                "orderId": order_id,
                "buyerId": buyer,
                "status": status,
                "paymentIntentId": intent,
                "totalAmount": 2500,
                "currency": "usd",
                "reason": None,
                "createdAt": "2026-11-23T05:50:20.090Z",
                "updatedAt": "2026-11-23T05:50:20.090Z",
                "expiresAt": expires_at,
                "items": [{"productId": "tea", "name": "Tea", "quantity": 2, "unitPrice": 1250}],
            },
        )

    def respond(self, request: httpx.Request) -> httpx.Response:
        claims = jwt.decode(
            request.headers["Authorization"].removeprefix("Bearer "), options={"verify_signature": False}
        )
        user, roles = claims["sub"], set(claims["roles"])
        path = request.url.path.removeprefix("/v1")
        call = f"{request.method} {path}"
        self.calls.append((call, user, json.loads(request.content or b"{}")))
        self.keys.append(request.headers.get("Idempotency-Key"))
        order = next((each for each in self.orders if each["orderId"] in path), None)
        allowed = next((names for start, names in ROLES.items() if call.startswith(start)), "buyer")
        if call.endswith("/status") and request.method == "GET":
            allowed = "buyer admin"
        if not roles & set(allowed.split()):
            return problem(403, "forbidden")
        if call == "GET /products":
            tea = {"productId": "tea", "name": "Tea", "unitPrice": 1250, "currency": "usd", "available": 1234}
            return httpx.Response(200, json={"products": [tea, {**tea, "productId": "mug"}], "cursor": None})
        if call == "GET /orders":
            own = [each for each in self.orders if each["buyerId"] == user]
            return httpx.Response(200, json={"orders": own, "cursor": None})
        if call == "GET /admin/orders":
            # A page reads one order, so pages of another status are empty.
            at, wanted = int(request.url.params.get("cursor", 0)), request.url.params.get("status")
            page = [each for each in self.orders[at : at + 1] if wanted in (None, each["status"])]
            more = at + 1 < len(self.orders)
            return httpx.Response(200, json={"orders": page, "cursor": str(at + 1) if more else None})
        if call == "POST /orders":
            if any(item["productId"] not in ("tea", "espresso-cup") for item in self.calls[-1][2]["items"]):
                return problem(422, "unknown_product")
            self.add(PENDING, buyer=user)
            return httpx.Response(201, json=self.orders[0])
        if order is None:
            return problem(404, "order_not_found")
        if call.startswith("GET") and ("admin" in roles or order["buyerId"] == user):
            return httpx.Response(200, json={name: value for name, value in order.items() if name != "items"})
        if call.endswith("/refunds"):
            if order["status"] != "confirmed":
                return problem(409, "not_refundable")
            order["refundedAmount"] = self.calls[-1][2].get("amount", order["totalAmount"])
            return httpx.Response(201, json={"refundId": "ref_1", "status": "succeeded"})
        if call.startswith("PUT"):
            if order["status"] != "pending":
                return problem(409, "order_not_pending")
            order["status"] = self.calls[-1][2]["status"]
            return httpx.Response(200, json=order)
        if order["buyerId"] != user:
            return problem(403, "forbidden")
        if order["status"] != "pending":
            return problem(409, "payment_already_attempted", order=order)
        status, code = self.payment
        if code:
            return problem(status, code, order=order)
        order["paymentIntentId"] = "pi_1"
        order["status"] = "confirmed" if status == 200 else "pending"
        return httpx.Response(status, json=order)


def problem(status: int, code: str, **more: Any) -> httpx.Response:
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, headers=headers, json={"code": code, "detail": "Refused.", **more})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeApi:
    fake = FakeApi()

    def respond(request: httpx.Request) -> httpx.Response:
        made = fake.respond(request)
        # The client measures only the time of responses that it reads from a stream.
        return httpx.Response(made.status_code, headers=made.headers, stream=httpx.ByteStream(made.content))

    ISSUER.save(tmp_path / "signing-key.pem")
    monkeypatch.setattr("local.shop.client.STATE", tmp_path)
    monkeypatch.setattr("local.running.find_running_stack", lambda: DESCRIPTION)
    transport = httpx.MockTransport(respond)
    monkeypatch.setattr("local.shop.client.httpx.Client", partial(httpx.Client, transport=transport))
    return fake


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, arguments)


def text_of(result: Result) -> str:
    return result.output + (str(result.exception) if isinstance(result.exception, CommandError) else "")


def suggested_commands(text: str) -> list[list[str]]:
    return [shlex.split(command)[1:] for command in re.findall(r"\./shop [^\n]*", text)]


@pytest.mark.usefixtures("api")
def test_products_are_listed_with_price_and_available_units() -> None:
    lines = run("products").output.splitlines()

    assert lines[0].split() == ["product", "price", "available", "name"]
    assert lines[1].split() == ["tea", "12.50", "USD", "1,234", "Tea"]


@pytest.mark.usefixtures("api")
def test_shortened_product_list_names_the_command_for_more() -> None:
    result = run("products", "--limit", "1")

    assert "mug" not in result.output
    assert "./shop products --limit 10" in result.output


def test_order_sends_quantities_and_prints_id_total_and_payment(api: FakeApi) -> None:
    result = run("order", "tea:2", "espresso-cup")

    items = [{"productId": "tea", "quantity": 2}, {"productId": "espresso-cup", "quantity": 1}]
    assert api.calls == [("POST /orders", "buyer-1", {"items": items})]
    assert result.output.splitlines()[1].split()[:4] == [PENDING, "pending", "25.00", "USD"]
    assert suggested_commands(result.output) == [["pay", PENDING]]


@pytest.mark.parametrize("item", ["tea:", "tea:x", "tea:-1", "tea:1.5", "tea:2:3", "a/b", "", ":2"])
def test_malformed_item_is_refused_before_the_api_is_called(api: FakeApi, item: str) -> None:
    assert "./shop" in text_of(run("order", item))
    assert api.calls == []


def test_pay_without_id_pays_the_newest_payable_order(api: FakeApi) -> None:
    api.add(UNKNOWN)
    api.add(PENDING)
    api.add(IN_FLIGHT, intent="pi_1")
    api.add(EXPIRED, expires_at="2026-11-26T05:50:20.090Z")
    api.add(CONFIRMED, status="confirmed", intent="pi_2")

    result = run("pay")

    assert result.exit_code == 0
    assert api.calls[-1][0] == f"POST /orders/{PENDING}/payment"
    assert "The order is confirmed" in result.output


def test_status_without_id_shows_the_newest_order(api: FakeApi) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")
    api.add(PENDING)

    assert [line.split()[:2] for line in run("status").output.splitlines()[:2]] == [
        ["order", PENDING],
        ["status", "pending"],
    ]


def test_status_shows_the_expiry_of_pending_orders_only(api: FakeApi) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")
    api.add(PENDING)

    assert ["expires", "2100-01-01T00:00:00.000Z"] in [
        line.split() for line in run("status", PENDING).output.splitlines()
    ]
    assert "expires" not in run("status", CONFIRMED).output


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ([], "buyer-1"),
        (["--as", "buyer2"], "buyer-2"),
        (["--as", "buyer-2"], "buyer-2"),
        (["--as", "alice"], "alice"),
        (["--token", ISSUER.token("bob", ["buyer"])], "bob"),
    ],
)
def test_commands_act_as_any_user(api: FakeApi, options: list[str], user: str) -> None:
    for command in (["products"], ["order", "tea"], ["orders"], ["status"], ["pay"]):
        assert run(*command, *options).exit_code == 0

    assert {call[1] for call in api.calls} == {user}


@pytest.mark.parametrize(
    ("options", "admin"),
    [([], "admin-1"), (["--as", "ada"], "ada"), (["--token", ISSUER.token("eve", ["admin"])], "eve")],
)
def test_override_settles_an_order_as_an_admin(api: FakeApi, options: list[str], admin: str) -> None:
    api.add(PENDING, buyer="alice")

    result = run("override", PENDING, "confirmed", "--reason", "Paid in cash.", *options)

    body = {"status": "confirmed", "reason": "Paid in cash."}
    assert api.calls == [(f"PUT /admin/orders/{PENDING}/status", admin, body)]
    assert "confirmed" in result.output


@pytest.mark.parametrize(("options", "shown"), [([], "25.00"), (["--amount", "700"], "7.00")])
def test_refund_is_made_as_an_admin_and_shown(api: FakeApi, options: list[str], shown: str) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")

    output = run("refund", CONFIRMED, "--reason", "Broken.", "--restock", "tea:2", *options).output

    (call, user, body), _ = api.calls
    assert (call, user) == (f"POST /admin/orders/{CONFIRMED}/refunds", "admin-1")
    assert (body["reason"], body["restock"]) == ("Broken.", [{"productId": "tea", "quantity": 2}])
    assert "ref_1 is succeeded" in output
    assert any(line.startswith("refunded") and shown in line for line in output.splitlines())


def test_refund_prints_its_idempotency_key_and_takes_it_again(api: FakeApi) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")
    output = run("refund", CONFIRMED, "--reason", "Broken.").output
    first = api.keys[0]
    assert first
    assert first in output

    run("refund", CONFIRMED, "--reason", "Broken.", "--key", first)
    run("refund", CONFIRMED, "--reason", "Broken.")

    _, _, again, _, other, _ = api.keys
    assert again == first != other


@pytest.mark.parametrize("key", ["", " ", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "k" * 256])
def test_key_that_no_header_can_carry_is_refused(api: FakeApi, key: str) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")

    result = run("refund", CONFIRMED, "--reason", "Broken.", "--key", key)

    assert isinstance(result.exception, CommandError)
    assert api.calls == []


def test_refund_is_reported_even_if_the_order_cannot_be_read(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")
    respond = api.respond
    monkeypatch.setattr(
        api, "respond", lambda request: problem(503, "busy") if request.method == "GET" else respond(request)
    )

    result = run("refund", CONFIRMED, "--reason", "Broken.")

    assert "ref_1 is succeeded" in result.output
    assert "again" not in str(result.exception)


@pytest.mark.parametrize(
    ("options", "admin"),
    [([], "admin-1"), (["--as", "ada"], "ada"), (["--token", ISSUER.token("eve", ["admin"])], "eve")],
)
def test_orders_of_all_buyers_are_listed_as_an_admin(api: FakeApi, options: list[str], admin: str) -> None:
    api.add(CONFIRMED, buyer="alice", status="confirmed", intent="pi_2")
    api.add(PENDING, buyer="bob")

    lines = run("orders", "--all", *options).output.splitlines()

    assert {(call, user) for call, user, _ in api.calls} == {("GET /admin/orders", admin)}
    assert lines[0].endswith("buyer, reason and items")
    assert [(line.split()[0], line.split()[4]) for line in lines[1:]] == [(PENDING, "bob"), (CONFIRMED, "alice")]


def test_orders_of_a_status_are_read_from_as_many_pages_as_needed(api: FakeApi) -> None:
    for order, status in ((CONFIRMED, "confirmed"), (UNKNOWN, "cancelled"), (PENDING, "pending")):
        api.add(order, buyer="alice", status=status)

    assert CONFIRMED in run("orders", "--all", "--status", "confirmed", "--limit", "1").output
    assert len(api.calls) == 3
    assert run("orders", "--all", "--status", "pending", "--limit", "1").output.splitlines()[1].startswith(PENDING)
    assert len(api.calls) == 4


def test_status_without_such_orders_says_so(api: FakeApi) -> None:
    api.add(PENDING)

    assert run("orders", "--all", "--status", "cancelled").output == "There are no such orders.\n"


@pytest.mark.parametrize("arguments", [["--as", " "], ["--token", "x"], ["--token", WITHOUT_USER]])
def test_unusable_user_is_refused_with_a_valid_one(api: FakeApi, arguments: list[str]) -> None:
    message = text_of(run("orders", *arguments))

    assert "buyer" in message
    assert api.calls == []


def test_payment_with_unknown_outcome_suggests_to_wait(api: FakeApi) -> None:
    api.add(PENDING)
    api.payment = (202, "")

    assert suggested_commands(run("pay").output) == [["reconcile", "--wait"]]


FAILURES = {
    "unknown product": ["order", "teaa"],
    "order as a seller": ["order", "tea:2", "--as", "seller"],
    "nothing ordered": ["status", "--as", "alice"],
    "nothing to pay": ["pay", "--as", "alice"],
    "no orders": ["orders", "--as", "alice smith"],
    "orders of an admin": ["orders", "--as", "admin"],
    "status without all orders": ["orders", "--status", "pending"],
    "newest order of an admin": ["status", "--as", "admin"],
    "payment by an admin": ["pay", "--as", "admin"],
    "payment of an unknown order": ["pay", UNKNOWN],
    "unknown order": ["status", UNKNOWN, "--as", "admin"],
    "payment of another buyer's order": ["pay", PENDING, "--as", "alice"],
    "payment of another buyer's paid order": ["pay", CONFIRMED, "--as", "alice"],
    "payment by a seller": ["pay", PENDING, "--as", "seller"],
    "second payment": ["pay", CONFIRMED, "--as", "buyer2"],
    "refund of an unpaid order": ["refund", PENDING, "--reason", "Broken."],
    "refund of an unknown order": ["refund", UNKNOWN, "--reason", "Broken."],
    "override of a paid order": ["override", CONFIRMED, "cancelled", "--reason", "Lost."],
    "override of an unknown order": ["override", UNKNOWN, "cancelled", "--reason", "Lost."],
    "malformed quantity": ["order", "unknown:x"],
    "order of an unknown product as a seller": ["order", "teaa", "--as", "seller"],
}


@pytest.mark.parametrize("failure", FAILURES)
def test_command_suggested_after_an_error_succeeds(api: FakeApi, failure: str) -> None:
    api.add(CONFIRMED, buyer="buyer-2", status="confirmed", intent="pi_2")
    api.add(PENDING)

    message = text_of(run(*FAILURES[failure]))

    suggestions = suggested_commands(message)
    assert suggestions, message
    for command in suggestions:
        assert run(*command).exit_code == 0, command


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (["status", PENDING, "--as", "alice"], "--as admin"),
        (["override", PENDING, "cancelled", "--reason", "Lost.", "--as", "buyer"], "Omit --as"),
        (["orders", "--all", "--as", "buyer"], "Omit --as"),
    ],
)
def test_refused_role_comes_with_the_option_to_change(api: FakeApi, command: list[str], advice: str) -> None:
    api.add(PENDING)

    assert advice in text_of(run(*command))


@pytest.mark.parametrize(
    ("status", "code", "suggestion"),
    [
        (503, "busy", ["pay", PENDING]),
        (502, "payment_provider_error", ["pay", PENDING]),
        (422, "amount_not_chargeable", ["products"]),
        (422, "insufficient_stock", ["products"]),
    ],
)
def test_failed_payment_suggests_what_can_succeed(api: FakeApi, status: int, code: str, suggestion: list[str]) -> None:
    api.add(PENDING)
    api.payment = (status, code)

    result = run("pay", "--card", "dummy_rate_limited")

    assert result.exit_code == 1
    assert suggested_commands(result.output) == [suggestion]


def test_payment_of_an_expired_order_suggests_another_order(api: FakeApi) -> None:
    api.add(EXPIRED, expires_at="2026-11-26T05:50:20.090Z")
    api.payment = (409, "order_expired")

    assert suggested_commands(run("pay", EXPIRED).output) == [["order", "espresso-cup"]]


def test_faults_of_a_request_are_shown_below_the_problem(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [{"location": ["body", "items", 0, "quantity"], "message": "At most 10,000."}]
    monkeypatch.setattr(api, "respond", lambda _: problem(422, "validation_error", errors=faults))

    assert text_of(run("order", "tea:20000")).endswith(
        "validation_error: Refused.\n  items.0.quantity: At most 10,000."
    )


def test_advice_to_an_admin_does_not_need_an_order_to_pay(api: FakeApi) -> None:
    api.add(CONFIRMED, status="confirmed", intent="pi_2")

    for command in suggested_commands(text_of(run("pay", "--as", "admin"))):
        assert run(*command).exit_code == 0
