"""The dummy on each store, behind the real SDK, with a fake clock and a sleep that returns at once."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
import stripe

from dummy_stripe import MemoryStore, Store
from dummy_stripe.dynamodb_store import DynamoDBStore
from dummy_stripe.http_client import DummyStripeHTTPClient
from dummy_stripe.sqlite_store import StateFile
from tests.support.moto import aws_on_moto

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEY = "sk_test_dummyNeverShown1234"


class Clock:
    """A fake clock. Each reading advances it by a millisecond, so that times stay in order."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Exchange:
    """One request to the dummy and its response."""

    method: str
    url: str
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


class RecordingClient(DummyStripeHTTPClient):
    """HTTP client of the dummy that records its exchanges, and whose retries do not wait."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.exchanges: list[Exchange] = []
        self.requests = 0

    def request(self, method: str, url: str, *args: Any, **options: Any) -> tuple[str, int, Mapping[str, str]]:
        self.requests += 1
        body, status, headers = super().request(method, url, *args, **options)
        self.exchanges.append(Exchange(method, url, status, json.loads(body), headers))
        return body, status, headers

    # A private method: the SDK has no option for the pause before a retry.
    def _sleep_time_seconds(self, num_retries: int) -> float:  # noqa: ARG002 - the SDK's signature
        return 0.0


@dataclass
class Dummy:
    """The dummy as the tests use it: the SDK's services on top of the store, clock and HTTP client."""

    store: Store
    clock: Clock
    http: RecordingClient
    client: stripe.StripeClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.client_with(KEY)
        self.intents = self.client.v1.payment_intents
        self.refunds = self.client.v1.refunds

    def client_with(self, key: str, retries: int = 0) -> stripe.StripeClient:
        return stripe.StripeClient(key, http_client=self.http, max_network_retries=retries)

    def in_another_process(self) -> "Dummy":
        """Return a dummy on the same store, as another process would use it."""
        http = RecordingClient(self.store, clock=self.clock, sleep=self.clock.sleep)
        return Dummy(self.store, self.clock, http)

    def create(self, key: str | None = None, **params: Any) -> stripe.PaymentIntent:
        options: Any = {} if key is None else {"idempotency_key": key}
        return self.intents.create(
            {"amount": 4599, "currency": "usd", "payment_method_types": ["card"], **params},  # type: ignore[typeddict-item]
            options,
        )

    def confirm(self, intent: str, token: str = "pm_card_visa", key: str | None = None, **params: Any) -> Any:
        options: Any = {} if key is None else {"idempotency_key": key}
        return self.intents.confirm(intent, {"payment_method": token, **params}, options)  # type: ignore[typeddict-item]

    def pay(self, **params: Any) -> stripe.PaymentIntent:
        """Return a new paid intent; its charge is the `latest_charge`."""
        intent: stripe.PaymentIntent = self.confirm(self.create(**params).id)
        return intent

    def refund(self, intent: str, key: str | None = None, **params: Any) -> stripe.Refund:
        options: Any = {} if key is None else {"idempotency_key": key}
        return self.refunds.create({"payment_intent": intent, **params}, options)  # type: ignore[typeddict-item]

    def raw(self, method: str, path: str, form: str = "", **headers: str) -> Exchange:
        """Send a request that the SDK would not send."""
        content_type = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        named = {**content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self.http.request(method, f"https://api.stripe.com{path}", {"Authorization": f"Bearer {KEY}", **named}, form)
        return self.http.exchanges[-1]


@pytest.fixture(scope="module")
def dynamodb_client() -> "Iterator[DynamoDBClient]":
    """Return one client for a module's tests, because creating one is slow. Each test has its own table."""
    with aws_on_moto():
        yield boto3.client(
            "dynamodb", region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing"
        )


def dynamodb_store(client: "DynamoDBClient") -> DynamoDBStore:
    table = f"dummy-stripe-{uuid4()}"
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return DynamoDBStore(client, table)


def dummy_on(store: Store) -> Dummy:
    clock = Clock()
    return Dummy(store, clock, RecordingClient(store, clock=clock, sleep=clock.sleep))


@pytest.fixture(params=["memory", "file", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "file":
        with closing(StateFile(tmp_path / "state.sqlite")) as file:
            yield file.store(KEY)
    elif request.param == "dynamodb":
        yield dynamodb_store(request.getfixturevalue("dynamodb_client"))
    else:
        yield MemoryStore()


@pytest.fixture
def dummy(store: Store) -> Dummy:
    return dummy_on(store)


@pytest.fixture
def memory_dummy() -> Dummy:
    return dummy_on(MemoryStore())


@pytest.fixture
def dynamodb_dummy(dynamodb_client: "DynamoDBClient") -> Dummy:
    return dummy_on(dynamodb_store(dynamodb_client))


@pytest.fixture
def error_of() -> Callable[[Callable[[], object]], stripe.StripeError]:
    """Return a function that returns the error that a call raises."""

    def error_of(call: Callable[[], object]) -> stripe.StripeError:
        with pytest.raises(stripe.StripeError) as caught:
            call()
        return caught.value

    return error_of
