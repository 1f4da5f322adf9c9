"""State of an audit: its progress, its suspects and its findings. A state machine passes it on as JSON."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from order_payments.runtime.clock import from_rfc3339, rfc3339, utc_now
from order_payments.runtime.observability import logger

AUDIT_WINDOW = timedelta(hours=48)
"""Default age of the oldest orders and charges that are compared with Stripe. An audit runs every 24 hours."""

RECHECK_DELAY = timedelta(seconds=60)

MAXIMUM_STRIPE_RETRIES = 5
"""Times that an audit waits and retries calls without a response from Stripe, for example at its rate limit."""

MAXIMUM_FINDINGS = 200
MAXIMUM_SUSPECTS = 200
MAXIMUM_FINDING_TEXT_LENGTH = 200
"""Characters of a text in a finding.

The three limits keep the audit below 256 KB, which is the most that a state machine passes on. Findings beyond them are
only counted; the next audit reports them. This service's ids are shorter than the limit, but another program may have
written items with longer ones.
"""


class FindingKind(StrEnum):
    """The kind of a mismatch."""

    PRODUCT_UNREADABLE = "product_unreadable"
    """A product item with an invalid name, price, currency or stock."""
    PRODUCT_MISSING = "product_missing"
    """A product that does not exist, although payments in flight hold units of it."""
    STOCK_OUT_OF_RANGE = "stock_out_of_range"
    """A product whose `available` exceeds its `stock`, or with a number below zero or above the maximum."""
    HOLDS_DIFFER = "holds_differ"
    """A product whose reserved units differ from what its payments in flight hold."""
    ORDER_UNREADABLE = "order_unreadable"
    ORDER_DOES_NOT_ADD_UP = "order_does_not_add_up"
    """An order whose total is not the sum of its lines, or with a line below one unit or below a price of zero."""
    NOT_LISTED = "not_listed"
    """An unsettled order that the reconciler cannot find: it lacks valid keys of the index `unsettled`."""
    LISTED = "listed"
    """An order with nothing to settle that is in the index `unsettled`."""
    CONFIRMED_WITHOUT_CHARGE = "confirmed_without_charge"
    CHARGED_WITHOUT_ORDER = "charged_without_order"
    """A charge that names an order that it did not confirm, and that was not refunded."""
    CHARGED_OTHER_AMOUNT = "charged_other_amount"
    """Such a charge whose amount or currency is not the order's."""
    REFUNDS_DIFFER = "refunds_differ"
    """An order whose refunds differ from those of its charge at Stripe."""
    RESTOCKED_TOO_MUCH = "restocked_too_much"
    """An order whose refunds put back more units than it sold."""
    CHARGED_FOR_UNKNOWN_ORDER = "charged_for_unknown_order"


class JsonModel(BaseModel):
    """Part of an audit or a repair that is passed on as JSON."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, without fields that are None."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)


class Finding(JsonModel):
    """A mismatch: the order, product or PaymentIntent, what was found and what was expected."""

    kind: FindingKind
    order_id: str | None = None
    product_id: str | None = None
    payment_intent_id: str | None = None
    found: str
    expected: str

    def shorten(self) -> "Finding":
        """Return the finding with each text cut to `MAXIMUM_FINDING_TEXT_LENGTH`."""
        return self.model_copy(
            update={
                name: f"{value[: MAXIMUM_FINDING_TEXT_LENGTH - 1]}…"
                for name, value in self
                if isinstance(value, str) and len(value) > MAXIMUM_FINDING_TEXT_LENGTH
            }
        )


class Suspect(JsonModel):
    """A product whose reserved units may differ from what payments hold, as it was when it was last checked.

    `digest` identifies its payments in flight. `stands` is the number of rechecks in a row that found it unchanged.
    """

    product_id: str
    stock: int
    available: int
    held: int
    digest: str
    stands: int = 0


def _require_time(text: str) -> str:
    from_rfc3339(text)
    return text


class Phase(StrEnum):
    """Parts of an audit, in their order. `SUSPECTS` and `LOOK_AGAIN` alternate until no suspect is left."""

    PRODUCTS = "products"
    ORDERS = "orders"
    CHARGES = "charges"
    SUSPECTS = "suspects"
    """Wait until the index has caught up."""
    LOOK_AGAIN = "look_again"
    DONE = "done"


class Audit(JsonModel):
    """An audit, in progress or done.

    `after` is the key after which the phase continues. `since` is an RFC 3339 time: only what was created or updated
    later is compared with Stripe.
    """

    phase: Phase = Phase.PRODUCTS
    after: str | None = None
    since: Annotated[str, AfterValidator(_require_time)] = Field(
        default_factory=lambda: rfc3339(utc_now() - AUDIT_WINDOW)
    )
    look_again_after_seconds: int = Field(default=int(RECHECK_DELAY.total_seconds()), ge=0, le=3600)
    wait_seconds: int = 0
    """Time to wait before the audit is continued."""
    done: bool = False
    products: int = 0
    orders: int = 0
    charges: int = 0
    mismatches: int = 0
    unjudged: int = 0
    looks: int = 0
    unanswered_orders: list[str] = Field(default_factory=list)
    unanswered_charges: list[str] = Field(default_factory=list)
    """Orders and PaymentIntents of the last page that Stripe did not respond for. They are retried."""
    stripe_retries: int = 0
    suspects: list[Suspect] = Field(default_factory=list, max_length=MAXIMUM_SUSPECTS)
    findings: list[Finding] = Field(default_factory=list, max_length=MAXIMUM_FINDINGS)

    def report(self, finding: Finding) -> None:
        """Log and count a finding, and keep it while there is room."""
        finding = finding.shorten()
        logger.error("audit mismatch", **finding.to_json())
        self.mismatches += 1
        if len(self.findings) < MAXIMUM_FINDINGS:
            self.findings.append(finding)

    def suspect(self, suspect: Suspect) -> None:
        """Keep a product to be rechecked. Without room for it, it is not judged."""
        if len(self.suspects) < MAXIMUM_SUSPECTS and len(suspect.product_id) <= MAXIMUM_FINDING_TEXT_LENGTH:
            self.suspects.append(suspect)
        else:
            self.leave_unjudged(product_id=suspect.product_id)

    def schedule_stripe_retry(self, item_id: str) -> bool:
        """Let the audit wait before it is continued. Return whether this order or intent may be retried then."""
        if self.stripe_retries >= MAXIMUM_STRIPE_RETRIES or len(item_id) > MAXIMUM_FINDING_TEXT_LENGTH:
            return False
        self.wait_seconds = self.look_again_after_seconds
        return True

    def leave_unjudged(self, **ids: str) -> None:
        """Log and count an order, a charge or a product that cannot be judged."""
        shortened: dict[str, Any] = {to_camel(name): value[:MAXIMUM_FINDING_TEXT_LENGTH] for name, value in ids.items()}
        logger.warning("audit item not judged", **shortened)
        self.unjudged += 1

    def move_on(self, last: str | None, following: Phase) -> None:
        """Continue after the key `last`, or with the phase `following` if this was the last page."""
        self.after = last
        if last is None:
            self.phase = following
