"""Details that distinguish a fake Stripe from Stripe: types, formats, headers, ids and expansions.

Stripe's messages are quoted from public reports of its responses. The package's README lists those that are not known.
"""

import inspect
import re

import pytest
import stripe

from dummy_stripe import MemoryStore, StripeAPI
from dummy_stripe.bodies import API_VERSION
from dummy_stripe.expansions import EXPANDABLE

from .conftest import KEY
from .test_wire_form import validate

CREATE = "amount=4599&currency=usd"
INTENTS = "/v1/payment_intents"


@pytest.mark.parametrize(
    ("form", "param", "message"),
    [
        ("payment_method_types=card", "payment_method_types", "Invalid array"),
        ("allowed_payment_method_types=card", "allowed_payment_method_types", "Invalid array"),
        ("payment_method_types[type]=card", "payment_method_types", "Invalid array"),
        ("payment_method_types[0][type]=card", "payment_method_types[0]", 'Invalid string: {:type=>"card"}'),
        ("expand=latest_charge", "expand", "Invalid array"),
        ("metadata=foo", "metadata", "Invalid object"),
        ("automatic_payment_methods=true", "automatic_payment_methods", "Invalid object"),
        ("amount[x]=5", "amount", 'Invalid integer: {:x=>"5"}'),
        ("confirm[0]=true", "confirm", 'Invalid boolean: {:"0"=>"true"}'),
        ("description[a]=b&description[c d]=e", "description", 'Invalid string: {:a=>"b", :"c d"=>"e"}'),
        ("currency[0]=usd", "currency", 'Invalid string: {:"0"=>"usd"}'),
        ("metadata[a][]=1&metadata[b]=2", "metadata", 'Invalid value type: {:"'),
        ("metadata[a][b]=1&metadata[a][c]=2", "metadata", 'Invalid value type: {:b=>"1", :c=>"2"} must be a string'),
    ],
)
def test_parameter_of_a_wrong_type_is_refused(memory_dummy, form, param, message):
    response = memory_dummy.raw("post", INTENTS, f"{CREATE}&{form}")

    assert response.status == 400
    assert response.body["error"]["param"] == param
    assert response.body["error"]["message"].startswith(message)
    assert memory_dummy.store.intents() == []


@pytest.mark.parametrize(
    ("field", "code", "message"),
    [
        ("receipt_email=alice", "email_invalid", "Invalid email address: alice"),
        ("receipt_email=otameshi@com", "email_invalid", "Invalid email address: otameshi@com"),
        ("receipt_email=%20a@example.com", "email_invalid", "Invalid email address:  a@example.com"),
        ("confirm=true&return_url=shop.example", "url_invalid", "Not a valid URL"),
        ("confirm=true&return_url=app:///--/://safepay", "url_invalid", "Not a valid URL"),
        ("confirm=true&return_url=https://a b", "url_invalid", "Not a valid URL"),
        (
            "statement_descriptor_suffix=1 year period with auto renew",
            None,
            "The statement descriptor must be at most 22 characters. 1 year period with auto renew is 29 characters",
        ),
        (
            "statement_descriptor_suffix=2026-1234",
            None,
            "The statement descriptor must contain at least one Latin character",
        ),
        ("statement_descriptor_suffix=<tea>", "invalid_characters", "The statement descriptor cannot contain"),
    ],
)
def test_value_of_an_invalid_format_is_refused(memory_dummy, field, code, message):
    response = memory_dummy.raw("post", INTENTS, f"{CREATE}&{field}")

    error = response.body["error"]
    assert (response.status, error.get("code")) == (400, code)
    assert error["param"] == field.split("&")[-1].partition("=")[0]
    assert error["message"].startswith(message)


def test_confirmation_checks_formats_too(memory_dummy):
    intent = memory_dummy.create()
    response = memory_dummy.raw("post", f"{INTENTS}/{intent.id}/confirm", "return_url=nowhere")

    assert response.body["error"]["code"] == "url_invalid"


@pytest.mark.parametrize(
    "url", ["https://shop.example/back?a=b", "http://127.0.0.1:3000/", "shopapp://stripe-redirect"]
)
def test_values_of_valid_formats_are_accepted(memory_dummy, url):
    intent = memory_dummy.create(
        receipt_email="a.b+c@mail.example.com",
        statement_descriptor_suffix="Order 2026-12",
        return_url=url,
        confirm=True,
        payment_method="pm_card_visa",
    )

    assert (intent.receipt_email, intent.statement_descriptor_suffix) == ("a.b+c@mail.example.com", "Order 2026-12")


@pytest.mark.parametrize("method", ["automatic", "manual"])
def test_confirmation_method_is_reported(dummy, method):
    created = dummy.create(confirmation_method=method)

    assert created.confirmation_method == dummy.intents.retrieve(created.id).confirmation_method == method
    assert dummy.confirm(created.id).confirmation_method == method


def test_usual_confirmation_method_is_not_stored(memory_dummy):
    # The previous release could not read it.
    memory_dummy.create()

    (stored,) = memory_dummy.store.intents()
    assert "confirmation_method" not in stored.to_json()


def test_search_is_not_an_intents_id(memory_dummy):
    response = memory_dummy.raw("get", f"{INTENTS}/search?query=x")

    assert response.status == 404
    assert response.body["error"]["message"].startswith(f"Unrecognized request URL (GET: {INTENTS}/search).")


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        (
            "application/json",
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any"
            " questions, we can help at https://support.stripe.com/.",
        ),
        (
            "text/plain; charset=utf-8",
            "Invalid request: unsupported Content-Type text/plain; charset=utf-8. If error persists and you need"
            " assistance, please contact support@stripe.com.",
        ),
    ],
)
def test_body_that_is_not_a_form_is_refused(memory_dummy, content_type, message):
    response = memory_dummy.raw("post", INTENTS, '{"amount": 4599}', Content_Type=content_type)

    assert (response.status, response.body["error"]["message"]) == (400, message)


def test_form_with_a_charset_is_accepted(memory_dummy):
    content_type = "application/x-www-form-urlencoded; charset=utf-8"

    assert memory_dummy.raw("post", INTENTS, CREATE, Content_Type=content_type).status == 200


@pytest.mark.parametrize("length", [0, 256])
def test_idempotency_key_of_an_invalid_length_is_refused(memory_dummy, length):
    response = memory_dummy.raw("post", INTENTS, CREATE, Idempotency_Key="k" * length)

    assert (response.status, response.body["error"]["type"]) == (400, "idempotency_error")
    assert response.body["error"]["message"].startswith(
        f"Idempotent key length is {length} characters long, which is outside accepted lengths."
    )
    assert memory_dummy.store.intents() == []


def test_idempotency_key_of_the_longest_length_is_accepted(dummy):
    assert dummy.create("k" * 255).id == dummy.create("k" * 255).id


def test_ids_have_stripes_lengths(memory_dummy):
    intent = memory_dummy.pay()
    refund = memory_dummy.refund(intent.id)

    assert re.fullmatch("pi_3[A-Za-z0-9]{23}", intent.id)
    assert re.fullmatch("ch_3[A-Za-z0-9]{23}", intent.latest_charge)
    assert re.fullmatch("re_3[A-Za-z0-9]{23}", refund.id)
    assert intent.id[3:19] == intent.latest_charge[3:19] == refund.id[3:19]


def test_refund_is_found_with_one_read(memory_dummy, monkeypatch):
    refund = memory_dummy.refund(memory_dummy.pay().id)
    monkeypatch.setattr(MemoryStore, "intents", lambda _: pytest.fail("all intents were read"))

    assert memory_dummy.refunds.retrieve(refund.id).amount == 4599


def respond(memory_dummy, form, **headers):
    """Return the response below the SDK's client, whose headers are complete."""
    api = StripeAPI(memory_dummy.store, memory_dummy.clock)
    sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded", **headers}
    return api.respond("POST", INTENTS, sent, form)


def test_every_response_has_stripes_version_and_is_not_cached(memory_dummy):
    for form in (CREATE, "amount=1"):
        headers = respond(memory_dummy, form).headers
        assert headers["Stripe-Version"] == API_VERSION
        assert headers["Cache-Control"] == "no-cache, no-store"

    assert respond(memory_dummy, CREATE, **{"Stripe-Version": "2020-08-27"}).headers["Stripe-Version"] == "2020-08-27"


@pytest.mark.parametrize(
    ("form", "key", "should_retry"),
    [
        (CREATE, "k", None),
        (
            f"{CREATE}&confirm=true&payment_method=pm_card_visa_chargeDeclined&return_url=https://a.example",
            "k",
            "false",
        ),
        (f"{CREATE}&payment_method=pm_none", "k", "false"),
        (f"{CREATE}&colour=red", "k", None),
    ],
    ids=["success", "decline", "refused in execution", "refused before execution"],
)
def test_saved_errors_ask_not_to_retry(memory_dummy, form, key, should_retry):
    assert respond(memory_dummy, form, **{"Idempotency-Key": key}).headers.get("Stripe-Should-Retry") == should_retry


def test_rate_limit_has_its_reason_and_a_lock_timeout_has_none(memory_dummy, monkeypatch):
    confirmed = f"{CREATE}&confirm=true&return_url=https://a.example&payment_method="
    limited = respond(memory_dummy, f"{confirmed}pm_dummy_rate_limited")
    monkeypatch.setattr(MemoryStore, "write", lambda *_: False)
    locked = respond(memory_dummy, CREATE)

    assert (limited.status, limited.headers["Stripe-Rate-Limited-Reason"]) == (429, "global-rate")
    assert (locked.status, locked.headers.get("Stripe-Rate-Limited-Reason")) == (429, None)


# Expansions


def expandable_fields_of(sdk_class: type) -> set[str]:
    """Return the fields that the SDK declares as expandable."""
    fields = re.split(r"\n    (?=\w+: )", inspect.getsource(sdk_class))
    return {field.partition(":")[0] for field in fields if "ExpandableField[" in field.partition('"""')[0]}


@pytest.mark.parametrize(
    ("kind", "sdk_class"),
    [
        ("payment_intent", stripe.PaymentIntent),
        ("charge", stripe.Charge),
        ("refund", stripe.Refund),
        ("payment_method", stripe.PaymentMethod),
    ],
)
def test_all_fields_that_stripe_expands_can_be_expanded(kind, sdk_class):
    fields = expandable_fields_of(sdk_class)

    assert "customer" in fields
    assert fields <= EXPANDABLE[kind].keys()


def test_every_expansion_is_accepted_and_matches_stripes_schema(memory_dummy):
    intent = memory_dummy.pay()
    refund = memory_dummy.refund(intent.id, amount=1000)
    paths = {
        f"{INTENTS}/{intent.id}": [
            *EXPANDABLE["payment_intent"],
            *(f"latest_charge.{f}" for f in EXPANDABLE["charge"]),
        ],
        f"/v1/refunds/{refund.id}": [*EXPANDABLE["refund"], *(f"charge.{f}" for f in EXPANDABLE["charge"])],
    }
    for path, fields in paths.items():
        for field in fields:
            response = memory_dummy.raw("get", f"{path}?expand[]={field}")
            assert response.status == 200, field
            validate(response.body["object"], response.body)


def test_nested_expansion_reaches_the_innermost_object(memory_dummy):
    intent = memory_dummy.pay()
    refund = memory_dummy.refund(intent.id, amount=1000)
    path = "latest_charge.refunds.data.payment_intent"
    charge = memory_dummy.raw("get", f"{INTENTS}/{intent.id}?expand[]={path}").body["latest_charge"]

    assert (charge["refunds"]["object"], charge["refunds"]["has_more"]) == ("list", False)
    assert [(each["id"], each["payment_intent"]["id"]) for each in charge["refunds"]["data"]] == [
        (refund.id, intent.id)
    ]
    assert charge["payment_intent"] == intent.id


def test_refunds_are_part_of_a_charge_only_if_expanded(memory_dummy):
    intent = memory_dummy.pay()
    memory_dummy.refund(intent.id)

    charge = memory_dummy.raw("get", f"{INTENTS}/{intent.id}?expand[]=latest_charge").body["latest_charge"]
    assert "refunds" not in charge


@pytest.mark.parametrize(
    ("path", "expand", "message"),
    [
        ("/pi_none", "amount", "This property cannot be expanded (amount)."),
        ("/pi_none", "latest_charge.amount", "This property cannot be expanded (latest_charge.amount)."),
        (
            "/pi_none",
            "latest_charge.refunds.charge",
            "This property cannot be expanded (latest_charge.refunds.charge).",
        ),
        (
            "/pi_none",
            "latest_charge.payment_intent.latest_charge.payment_intent.latest_charge",
            "This property cannot be expanded"
            " (latest_charge.payment_intent.latest_charge.payment_intent.latest_charge).",
        ),
        (
            "",
            "customer",
            "This property cannot be expanded (customer). You may want to try expanding 'data.customer' instead.",
        ),
        ("", "data.amount", "This property cannot be expanded (amount)."),
    ],
)
def test_field_that_cannot_be_expanded_is_refused_first(memory_dummy, path, expand, message):
    response = memory_dummy.raw("get", f"{INTENTS}{path}?expand[]={expand}")

    assert (response.status, response.body["error"]["message"]) == (400, message)
    assert response.body["error"].keys() <= {"message", "type", "request_log_url"}
