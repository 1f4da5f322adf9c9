"""Response bodies: PaymentIntent, charge, PaymentMethod, refund, list and error in Stripe's full form.

Fields, nullability and values: https://github.com/stripe/openapi (`payment_intent`, `charge`, `payment_method`,
`refund`, `api_errors`). Fields that the dummy does not use have Stripe's value for a plain card payment, mostly null.
Times are whole Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dummy_stripe.cards import PAYMENT_METHODS
from dummy_stripe.expansions import NO_EXPANSION
from dummy_stripe.objects import ChargeStatus, RefundStatus, Status

if TYPE_CHECKING:
    from dummy_stripe.expansions import Expansion
    from dummy_stripe.objects import Charge, Failure, Intent
    from dummy_stripe.refusals import Refusal

API_VERSION: Final = "2026-10-28.endive"
"""Version of Stripe's API that the dummy's objects follow."""

_EXPIRY = {"exp_month": 12, "exp_year": 2034}
_DISPLAY_BRANDS = {"amex": "american_express", "diners": "diners_club", "unionpay": "union_pay"}
_NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
_BILLING_DETAILS = {"address": _NO_ADDRESS, "email": None, "name": None, "phone": None, "tax_id": None}
_NO_CHECKS = dict.fromkeys(("address_line1_check", "address_postal_code_check", "cvc_check"))

# Fields that are null for a plain card payment.
_UNUSED_BY_INTENTS = dict.fromkeys(
    """
    application application_fee_amount customer customer_account excluded_payment_method_types managed_payments
    on_behalf_of payment_method_configuration_details payment_record processing review setup_future_usage
    shipping source statement_descriptor transfer_data transfer_group
    """.split()
)
_UNUSED_BY_CHARGES = dict.fromkeys(
    """
    application application_fee application_fee_amount balance_transaction calculated_statement_descriptor
    customer failure_balance_transaction on_behalf_of receipt_number review shipping source source_transfer
    statement_descriptor transfer_data transfer_group
    """.split()
)
_UNUSED_BY_REFUNDS = dict.fromkeys(
    """
    balance_transaction customer customer_account receipt_number source_transfer_reversal transfer_reversal
    """.split()
)
_UNUSED_BY_CARDS = dict.fromkeys(
    """
    authorization_code fingerprint installments mandate network_transaction_id three_d_secure
    transaction_link_id wallet
    """.split()
)


def payment_intent(intent: Intent, expand: Expansion = NO_EXPANSION) -> dict[str, Any]:
    paid = intent.status is Status.SUCCEEDED
    latest = intent.charges[-1] if intent.charges else None
    latest_charge: str | dict[str, Any] | None = latest.id if latest else None
    if latest and "latest_charge" in expand:
        latest_charge = charge(intent, latest, expand["latest_charge"])
    method: str | dict[str, Any] | None = intent.payment_method
    if intent.payment_method and "payment_method" in expand:
        method = payment_method(intent.payment_method, intent.created)
    automatic = intent.allow_redirects and {"allow_redirects": intent.allow_redirects, "enabled": True}
    return {
        "id": intent.id,
        "object": "payment_intent",
        **_UNUSED_BY_INTENTS,
        "allowed_payment_method_types": None if automatic else list(intent.payment_method_types),
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": intent.amount if paid else 0,
        "automatic_payment_methods": automatic,
        "canceled_at": None if intent.canceled_at is None else int(intent.canceled_at),
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "client_secret": intent.client_secret,
        "confirmation_method": intent.confirmation_method,
        "created": int(intent.created),
        "currency": intent.currency,
        "description": intent.description,
        "last_payment_error": intent.last_failure and _payment_error(intent.last_failure, intent.created),
        "latest_charge": latest_charge,
        "livemode": False,
        "metadata": intent.metadata,
        "next_action": _next_action(intent),
        "payment_method": method,
        "payment_method_options": {
            "card": {
                **dict.fromkeys(("installments", "mandate_options", "network")),
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": list(intent.payment_method_types),
        "receipt_email": intent.receipt_email,
        "statement_descriptor_suffix": intent.statement_descriptor_suffix,
        "status": intent.status.value,
    }


def charge(intent: Intent, charge: Charge, expand: Expansion = NO_EXPANSION) -> dict[str, Any]:
    """Return a charge of the intent. Stripe includes the refunds only if they are expanded."""
    refunds: dict[str, Any] = {}
    if "refunds" in expand:
        of_each = expand["refunds"].get("data", NO_EXPANSION)
        data = [refund(intent, each.id, of_each) for each in reversed(charge.refunds)]
        refunds = {"refunds": page(data, has_more=False, url=f"/v1/charges/{charge.id}/refunds")}
    paid = charge.status is ChargeStatus.SUCCEEDED
    failure = charge.failure
    return {
        "id": charge.id,
        "object": "charge",
        **_UNUSED_BY_CHARGES,
        "amount": charge.amount,
        "amount_captured": charge.amount if paid else 0,
        "amount_refunded": charge.amount_refunded,
        "billing_details": _BILLING_DETAILS,
        "captured": paid,
        "created": int(charge.created),
        "currency": charge.currency,
        "description": charge.description,
        "disputed": charge.is_disputed,
        "failure_code": failure and failure.code,
        "failure_message": failure and failure.message,
        "fraud_details": {},
        "livemode": False,
        "metadata": charge.metadata,
        "outcome": None if charge.status is ChargeStatus.PENDING else _outcome(failure),
        "paid": paid,
        "payment_intent": _intent_or_id(intent, expand),
        "payment_method": charge.payment_method,
        "payment_method_details": {"card": _charged_card(charge), "type": "card"},
        "radar_options": {},
        "receipt_email": charge.receipt_email,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{charge.id}" if paid else None,
        "refunded": charge.amount_refunded == charge.amount,
        **refunds,
        "statement_descriptor_suffix": charge.statement_descriptor_suffix,
        "status": charge.status.value,
    }


def payment_method(token: str, created: float) -> dict[str, Any]:
    card = PAYMENT_METHODS[token]
    return {
        "id": token,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": _BILLING_DETAILS,
        "card": {
            "brand": card.brand,
            "checks": _NO_CHECKS,
            "country": "US",
            "display_brand": _DISPLAY_BRANDS.get(card.brand, card.brand),
            **_EXPIRY,
            "fingerprint": None,
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": int(created),
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }


def refund(intent: Intent, refund_id: str, expand: Expansion = NO_EXPANSION) -> dict[str, Any]:
    of, refund = next((of, refund) for of in intent.charges for refund in of.refunds if refund.id == refund_id)
    by_status: dict[str, Any] = {}
    if refund.status is RefundStatus.PENDING:
        by_status = {"pending_reason": "processing"}
    if not refund.returns_money:
        # The dummy has no balance, so the id of the transaction only has Stripe's form.
        transaction = f"txn_{refund.id.removeprefix('re_')}"
        by_status = {"failure_balance_transaction": transaction, "failure_reason": refund.failure_reason}
    return {
        "id": refund.id,
        "object": "refund",
        **_UNUSED_BY_REFUNDS,
        "amount": refund.amount,
        "charge": charge(intent, of, expand["charge"]) if "charge" in expand else of.id,
        "created": int(refund.created),
        "currency": of.currency,
        **by_status,
        "destination_details": {
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
            "type": "card",
        },
        "metadata": refund.metadata,
        "payment_intent": _intent_or_id(intent, expand),
        "payment_method": (
            payment_method(of.payment_method, intent.created) if "payment_method" in expand else of.payment_method
        ),
        "reason": refund.reason,
        "status": refund.status.value,
    }


def _intent_or_id(intent: Intent, expand: Expansion) -> str | dict[str, Any]:
    return payment_intent(intent, expand["payment_intent"]) if "payment_intent" in expand else intent.id


def page(data: list[dict[str, Any]], *, has_more: bool, url: str) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def refusal(refused: Refusal, request_id: str, now: float) -> dict[str, Any]:
    """Return an error's body. Unlike other objects, an error omits fields without a value."""
    error = {
        "code": refused.code,
        "doc_url": refused.code and _doc_url(refused.code),
        "message": refused.message,
        "param": refused.param,
        "payment_intent": refused.intent and payment_intent(refused.intent),
        # Stripe shows no log entry to a caller with an invalid key.
        "request_log_url": None if refused.status == 401 else _log_url(request_id, now),
        "type": refused.error_type,
    }
    return {"error": _present(error)}


def failed_payment(intent: Intent, failure: Failure, request_id: str, now: float) -> dict[str, Any]:
    """Return the body of HTTP 402: the failure of a confirmation, and the intent after it."""
    return {
        "error": {
            **_payment_error(failure, intent.created),
            "payment_intent": payment_intent(intent),
            "request_log_url": _log_url(request_id, now),
        }
    }


def _payment_error(failure: Failure, created: float) -> dict[str, Any]:
    return _present(
        {
            "advice_code": failure.advice_code,
            "charge": failure.charge,
            "code": failure.code,
            "decline_code": failure.decline_code,
            "doc_url": _doc_url(failure.code),
            "message": failure.message,
            "param": failure.param,
            "payment_method": payment_method(failure.payment_method, created),
            "type": "card_error",
        }
    )


def _next_action(intent: Intent) -> dict[str, Any] | None:
    if intent.status is not Status.REQUIRES_ACTION:
        return None
    if intent.return_url is not None:
        url = f"https://hooks.stripe.com/3d_secure_2/hosted?payment_intent={intent.id}"
        return {"redirect_to_url": {"return_url": intent.return_url, "url": url}, "type": "redirect_to_url"}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}


def _outcome(failure: Failure | None) -> dict[str, Any]:
    return {
        "advice_code": failure and failure.advice_code,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if failure else "approved_by_network",
        "reason": failure and failure.decline_code,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "The bank declined the payment." if failure else "Payment complete.",
        "type": "issuer_declined" if failure else "authorized",
    }


def _charged_card(charge: Charge) -> dict[str, Any]:
    card = PAYMENT_METHODS[charge.payment_method]
    return {
        **_UNUSED_BY_CARDS,
        "amount_authorized": None if charge.failure else charge.amount,
        "brand": card.brand,
        "checks": _NO_CHECKS,
        "country": "US",
        **_EXPIRY,
        "extended_authorization": {"status": "disabled"},
        "funding": card.funding,
        "incremental_authorization": {"status": "unavailable"},
        "last4": card.last4,
        "multicapture": {"status": "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "overcapture": {"maximum_amount_capturable": charge.amount, "status": "unavailable"},
        "regulated_status": "unregulated",
    }


def _doc_url(code: str) -> str:
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def _log_url(request_id: str, now: float) -> str:
    return f"https://dashboard.stripe.com/test/logs/{request_id}?t={int(now)}"


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
