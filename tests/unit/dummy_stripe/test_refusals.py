"""The dummy refuses invalid requests with Stripe's status, type, code, param and message."""

import pytest
import stripe

from dummy_stripe import MemoryStore

from .conftest import KEY, dummy_on  # isort: skip


@pytest.fixture
def dummy():
    return dummy_on(MemoryStore())


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_****"),
        ("pk_test_4eC39HqLyjWDarjtT1zdp7dc", "pk_test_****"),
        ("rk_test_4eC39HqLyjWDarjtT1zdp7dc", "rk_test_****"),
        ("sk_test_", "sk_test_****"),
        ("nonsense", "****"),
    ],
)
def test_key_that_is_not_a_test_key_is_refused_and_masked(dummy, key, shown):
    with pytest.raises(stripe.AuthenticationError) as caught:
        dummy.client_with(key).v1.payment_intents.create({"amount": 4599, "currency": "usd"})

    assert caught.value.http_status == 401
    assert caught.value.user_message == f"Invalid API Key provided: {shown}"
    assert caught.value.error.type == "invalid_request_error"
    assert dummy.store.intents() == []


def test_request_without_a_key_is_refused(dummy):
    response = dummy.raw("get", "/v1/payment_intents", Authorization="")

    assert response.status == 401
    assert response.body["error"]["message"].startswith("You did not provide an API key.")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/v1/charges"),
        ("get", "/v1/payment_intents/"),
        ("post", "/v1/payment_intents/pi_1/capture"),
        ("delete", "/v1/payment_intents/pi_1"),
        ("get", "/"),
        ("get", "/v1/refunds/re_1/cancel"),
        ("post", "/v1/refunds/re_1/fail"),
        ("delete", "/v1/refunds/re_1"),
    ],
)
def test_unsupported_url_is_not_found(dummy, method, path):
    response = dummy.raw(method, path)

    assert (response.status, response.body["error"]["type"]) == (404, "invalid_request_error")
    assert response.body["error"]["message"].startswith(f"Unrecognized request URL ({method.upper()}: {path}).")


INVALID_CREATIONS = [
    ("currency=usd", "parameter_missing", "amount", "Missing required param: amount."),
    ("amount=4599", "parameter_missing", "currency", "Missing required param: currency."),
    ("amount=&currency=usd", "parameter_invalid_empty", "amount", "You passed an empty string for 'amount'."),
    ("amount=10.5&currency=usd", "parameter_invalid_integer", "amount", "Invalid integer: 10.5"),
    ("amount=many&currency=usd", "parameter_invalid_integer", "amount", "Invalid integer: many"),
    ("amount=0&currency=usd", "parameter_invalid_integer", "amount", "This value must be greater than or equal to 1."),
    ("amount=-5&currency=usd", "parameter_invalid_integer", "amount", "This value must be greater than or equal to 1."),
    ("amount=49&currency=usd", "amount_too_small", "amount", "Amount must be at least $0.50 usd"),
    ("amount=29&currency=gbp", "amount_too_small", "amount", "Amount must be at least £0.30 gbp"),
    ("amount=49&currency=eur", "amount_too_small", "amount", "Amount must be at least €0.50 eur"),
    ("amount=49&currency=jpy", "amount_too_small", "amount", "Amount must be at least ¥50 jpy"),
    ("amount=100000000&currency=usd", "amount_too_large", "amount", "Amount must be no more than $999,999.99 usd"),
    (
        "amount=1000000000000&currency=idr",
        "amount_too_large",
        "amount",
        "Amount must be no more than 9,999,999,999.99 idr",
    ),
    ("amount=5124&currency=kwd", "invalid_charge_amount", "amount", "Invalid amount."),
    (
        "amount=4010&currency=isk",
        "invalid_charge_amount_no_decimal_compatible",
        "amount",
        "Invalid amount. Currency ISK has become effectively zero-decimal",
    ),
    (
        "amount=5050&currency=ugx",
        "invalid_charge_amount_no_decimal_compatible",
        "amount",
        "Invalid amount. Currency UGX has become effectively zero-decimal",
    ),
    ("amount=4599&currency=bgn", None, "currency", "Invalid currency: bgn."),
    ("amount=4599&currency=hrk", None, "currency", "Invalid currency: hrk."),
    ("amount=4599&currency=ang", None, "currency", "Invalid currency: ang."),
    ("amount=" + "9" * 9999 + "&currency=usd", "amount_too_large", "amount", "Amount must be no more than"),
    (
        "amount=4599&currency=zzz",
        None,
        "currency",
        "Invalid currency: zzz. Stripe currently supports these currencies: ",
    ),
    ("amount=4599&currency=usd&ammount=1", "parameter_unknown", "ammount", "Received unknown parameter: ammount"),
    ("amount=4599&currency=usd&b=1&a[c]=1", "parameter_unknown", "a", "Received unknown parameters: a, b"),
    (
        "amount=4599&currency=usd&automatic_payment_methods[enabled]=true&automatic_payment_methods[x]=1",
        "parameter_unknown",
        "automatic_payment_methods[x]",
        "Received unknown parameter: automatic_payment_methods[x]",
    ),
    (
        "amount=4599&currency=usd&automatic_payment_methods[allow_redirects]=never",
        "parameter_missing",
        "automatic_payment_methods[enabled]",
        "Missing required param: automatic_payment_methods[enabled].",
    ),
    (
        "amount=4599&currency=usd&automatic_payment_methods[enabled]=true&payment_method_types[]=card",
        None,
        "automatic_payment_methods",
        "You may only specify one of these parameters",
    ),
    (
        "amount=4599&currency=usd&automatic_payment_methods[enabled]=true&confirmation_method=manual",
        None,
        "automatic_payment_methods",
        "You may only specify one of these parameters: automatic_payment_methods, confirmation_method.",
    ),
    (
        "amount=4599&currency=usd&payment_method_types[0]=ideal",
        "payment_intent_invalid_parameter",
        "payment_method_types",
        "The payment method type provided: ideal is invalid.",
    ),
    ("amount=4599&currency=usd&confirm=yes", None, "confirm", "Invalid boolean: yes"),
    (
        "amount=4599&currency=usd&capture_method=manual",
        None,
        "capture_method",
        "Invalid capture_method: must be one of automatic or automatic_async",
    ),
    ("amount=4599&currency=usd&expand[]=amount", None, None, "This property cannot be expanded (amount)."),
    (
        "amount=4599&currency=usd&return_url=https://a",
        None,
        "return_url",
        "The parameter `return_url` cannot be passed",
    ),
    ("amount=4599&currency=usd&payment_method=", "parameter_invalid_empty", "payment_method", "You passed an empty"),
    (
        "amount=4599&currency=usd&payment_method=pm_card_gold",
        "resource_missing",
        "payment_method",
        "No such PaymentMethod: 'pm_card_gold'",
    ),
    (
        f"amount=4599&currency=usd&metadata[a]={'x' * 501}",
        None,
        None,
        "Metadata values can have up to 500 characters, but you passed in a value that is 501 characters. Invalid",
    ),
    (
        f"amount=4599&currency=usd&metadata[{'x' * 41}]=1",
        None,
        None,
        "Metadata keys can have up to 40 characters, but you passed in a key that is 41 characters. Invalid key: x",
    ),
    (
        "amount=4599&currency=usd&" + "&".join(f"metadata[k{n}]=1" for n in range(51)),
        None,
        "metadata",
        "Metadata can have up to 50 keys.",
    ),
]


@pytest.mark.parametrize(("form", "code", "param", "message"), INVALID_CREATIONS)
def test_invalid_creation_is_refused(dummy, form, code, param, message):
    response = dummy.raw("post", "/v1/payment_intents", form)

    error = response.body["error"]
    assert (response.status, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)
    assert error["message"].startswith(message)
    assert dummy.store.intents() == []


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (50, "usd"),
        (30, "gbp"),
        (50, "jpy"),
        (99_999_999, "usd"),
        (1, "clp"),
        (50, "USD"),
        (5120, "kwd"),
        (4000, "isk"),
        (5000, "ugx"),
        (150_000_000, "idr"),
        (999_999_999_999, "idr"),
        (1, "xcg"),
    ],
)
def test_amount_at_the_limit_is_accepted(dummy, amount, currency):
    assert dummy.create(amount=amount, currency=currency).currency == currency.lower()


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=101", "parameter_invalid_integer", "limit"),
        ("limit=0", "parameter_invalid_integer", "limit"),
        ("limit=x", "parameter_invalid_integer", "limit"),
        ("starting_after=pi_none", "resource_missing", "starting_after"),
        ("ending_before=pi_none", "resource_missing", "ending_before"),
        ("starting_after=pi_a&ending_before=pi_b", None, "starting_after"),
        ("expand[]=latest_charge", None, None),
        ("colour=red", "parameter_unknown", "colour"),
    ],
)
def test_invalid_listing_is_refused(dummy, query, code, param):
    response = dummy.raw("get", f"/v1/payment_intents?{query}")

    assert response.status == 400
    assert (response.body["error"].get("code"), response.body["error"].get("param")) == (code, param)


@pytest.mark.parametrize("call", ["confirm", "cancel", "retrieve"])
def test_unknown_intent_is_not_found(dummy, error_of, call):
    error = error_of(lambda: getattr(dummy.intents, call)("pi_none"))

    assert isinstance(error, stripe.InvalidRequestError)
    assert (error.http_status, error.code, error.param) == (404, "resource_missing", "intent")
    assert error.user_message == "No such payment_intent: 'pi_none'"


def test_confirmation_with_an_unknown_payment_method_is_refused(dummy, error_of):
    intent = dummy.create()
    error = error_of(lambda: dummy.confirm(intent.id, "pm_card_gold"))

    assert (error.http_status, error.code, error.param) == (400, "resource_missing", "payment_method")
    assert error.user_message == "No such PaymentMethod: 'pm_card_gold'"
    assert dummy.intents.retrieve(intent.id).status == "requires_payment_method"


def test_confirmation_without_a_payment_method_is_refused(dummy, error_of):
    intent = dummy.create()
    error = error_of(lambda: dummy.intents.confirm(intent.id))

    assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
    assert "missing a payment method" in error.user_message
    assert error.error.payment_intent.id == intent.id


def test_automatic_payment_methods_need_a_return_url(dummy, error_of):
    intent = dummy.intents.create({"amount": 4599, "currency": "usd"})
    assert intent.automatic_payment_methods.allow_redirects == "always"

    error = error_of(lambda: dummy.confirm(intent.id))
    assert error.http_status == 400
    assert "you must provide a `return_url`" in error.user_message
    assert dummy.confirm(intent.id, return_url="https://shop.example/back").status == "succeeded"


def test_payment_methods_without_redirects_need_no_return_url(dummy):
    automatic = {"enabled": True, "allow_redirects": "never"}
    intent = dummy.intents.create({"amount": 4599, "currency": "usd", "automatic_payment_methods": automatic})

    assert dummy.confirm(intent.id).status == "succeeded"


def test_creation_whose_confirmation_is_refused_creates_no_intent(dummy, error_of):
    error = error_of(lambda: dummy.create(confirm=True))

    assert error.code == "payment_intent_unexpected_state"
    assert error.error.payment_intent is None
    assert dummy.store.intents() == []


def test_unknown_cancellation_reason_is_refused(dummy, error_of):
    intent = dummy.create()
    error = error_of(lambda: dummy.intents.cancel(intent.id, {"cancellation_reason": "bored"}))

    assert (error.http_status, error.param) == (400, "cancellation_reason")
    reasons = "duplicate, fraudulent, requested_by_customer, or abandoned"
    assert error.user_message == f"Invalid cancellation_reason: must be one of {reasons}"


def test_error_has_its_request_id(dummy, error_of):
    error = error_of(lambda: dummy.intents.retrieve("pi_none"))

    assert error.request_id.startswith("req_")
    assert error.request_id in error.error.request_log_url


def test_no_response_contains_the_key(dummy, error_of):
    intent = dummy.create()
    error_of(lambda: dummy.confirm(intent.id, "pm_card_visa_chargeDeclined"))
    dummy.confirm(intent.id)
    error_of(lambda: dummy.client_with("sk_live_4eC39HqLyjWDarjtT1zdp7dc").v1.payment_intents.retrieve(intent.id))

    shown = "".join(f"{response.body}{dict(response.headers)}" for response in dummy.http.exchanges)
    assert KEY not in shown
    assert "4eC39HqLyjWDarjtT1zdp7dc" not in shown
