"""What an audit says: where it is, what it suspects, and what it has found. A state machine hands it on as JSON."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from order_payments.runtime.clock import from_rfc3339, rfc3339, utc_now
from order_payments.runtime.observability import logger

AUDIT_WINDOW = timedelta(hours=48)
"""How far back orders are held against Stripe, where nobody says otherwise; an audit is every 24 hours."""

LOOK_AGAIN_AFTER = timedelta(seconds=60)

STRIPE_RETRIES = 5
"""How often an audit waits and asks again about what Stripe did not answer, as while it limits the rate."""

MOST_FINDINGS = 200
MOST_SUSPECTS = 200
LONGEST_FINDING_TEXT = 200
"""A state machine hands on 256 KB at most. What is beyond is counted, and the next audit finds it.

Ids of ours are shorter than `LONGEST_FINDING_TEXT`; what somebody else wrote into the tables may be of any length.
"""


class Kind(StrEnum):
    """What does not fit."""

    PRODUCT_UNREADABLE = "product_unreadable"
    """An item that should be a product, with a name, a price, a currency or numbers of stock that are invalid."""
    PRODUCT_MISSING = "product_missing"
    """A product that does not exist, and payments in flight hold some of it."""
    STOCK_OUT_OF_RANGE = "stock_out_of_range"
    """A product of which more can be sold than there is, or less than nothing is there."""
    HOLDS_DIFFER = "holds_differ"
    """A product whose holds are not those of its payments in flight."""
    ORDER_UNREADABLE = "order_unreadable"
    ORDER_DOES_NOT_ADD_UP = "order_does_not_add_up"
    """An order whose total is not the sum of its lines, or with a line of nothing or for less than nothing."""
    NOT_LISTED = "not_listed"
    """An order to be settled that the reconciler cannot find: it lacks the keys of the index `unsettled`."""
    LISTED = "listed"
    """An order with nothing to be settled that has them."""
    CONFIRMED_WITHOUT_CHARGE = "confirmed_without_charge"
    CHARGED_WITHOUT_ORDER = "charged_without_order"
    """A charge that names an order which it did not confirm, and which has not been given back."""
    CHARGED_OTHER_AMOUNT = "charged_other_amount"
    """The same, and it is not what the order costs."""
    CHARGED_FOR_UNKNOWN_ORDER = "charged_for_unknown_order"


class JsonModel(BaseModel):
    """Part of an audit or a repair that is handed on as JSON."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, without the fields that have no value."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)


class Finding(JsonModel):
    """One thing that does not fit: of which order or product, and what is there for what should be."""

    kind: Kind
    order_id: str | None = None
    product_id: str | None = None
    payment_intent_id: str | None = None
    found: str
    expected: str

    def shortened(self) -> "Finding":
        """The same, with no text longer than `LONGEST_FINDING_TEXT`."""
        return self.model_copy(
            update={
                name: f"{value[: LONGEST_FINDING_TEXT - 1]}…"
                for name, value in self
                if isinstance(value, str) and len(value) > LONGEST_FINDING_TEXT
            }
        )


class Suspect(JsonModel):
    """A product whose holds seem to differ, as it was at the last look, and for how many looks it has stood so."""

    product_id: str
    stock: int
    available: int
    held: int
    digest: str
    stands: int = 0


def _is_a_time(text: str) -> str:
    from_rfc3339(text)
    return text


class Phase(StrEnum):
    """The parts of an audit, in this order. The last two before the end take turns until no product is a suspect."""

    PRODUCTS = "products"
    ORDERS = "orders"
    CHARGES = "charges"
    SUSPECTS = "suspects"
    """Wait before the next look, until the index has caught up with the last one."""
    LOOK_AGAIN = "look_again"
    DONE = "done"


class Audit(JsonModel):
    """An audit under way, or done. Times are RFC 3339; `since` is what is compared with Stripe."""

    phase: Phase = Phase.PRODUCTS
    after: str | None = None
    since: Annotated[str, AfterValidator(_is_a_time)] = Field(default_factory=lambda: rfc3339(utc_now() - AUDIT_WINDOW))
    look_again_after_seconds: int = Field(default=int(LOOK_AGAIN_AFTER.total_seconds()), ge=0, le=3600)
    wait_seconds: int = 0
    """For how long to wait before it goes on."""
    done: bool = False
    products: int = 0
    orders: int = 0
    charges: int = 0
    mismatches: int = 0
    unjudged: int = 0
    looks: int = 0
    unanswered_orders: list[str] = Field(default_factory=list)
    unanswered_charges: list[str] = Field(default_factory=list)
    """Orders and PaymentIntents of the page before that Stripe did not answer about. They are asked about again."""
    stripe_retries: int = 0
    suspects: list[Suspect] = Field(default_factory=list, max_length=MOST_SUSPECTS)
    findings: list[Finding] = Field(default_factory=list, max_length=MOST_FINDINGS)

    def report(self, finding: Finding) -> None:
        """Count a finding, and keep it if there is room."""
        finding = finding.shortened()
        logger.error("mismatch", **finding.to_json())
        self.mismatches += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def suspect(self, suspect: Suspect) -> None:
        """Remember a product to look at again."""
        if len(self.suspects) < MOST_SUSPECTS and len(suspect.product_id) <= LONGEST_FINDING_TEXT:
            self.suspects.append(suspect)
        else:
            self.leave_unjudged(product_id=suspect.product_id)

    def may_ask_stripe_again(self, item_id: str) -> bool:
        """Return whether to ask about this order or intent again, and let the audit wait before it goes on."""
        if self.stripe_retries >= STRIPE_RETRIES or len(item_id) > LONGEST_FINDING_TEXT:
            return False
        self.wait_seconds = self.look_again_after_seconds
        return True

    def leave_unjudged(self, **ids: str) -> None:
        """Count and log an order, a charge or a product that could not be judged."""
        shortened: dict[str, Any] = {to_camel(name): value[:LONGEST_FINDING_TEXT] for name, value in ids.items()}
        logger.warning("not judged", **shortened)
        self.unjudged += 1

    def next_page(self, last: str | None, following: Phase) -> None:
        """Go on behind `last`, or with the phase that follows where that was the last page."""
        self.after = last
        if last is None:
            self.phase = following
