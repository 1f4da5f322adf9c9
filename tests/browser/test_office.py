"""The office: all orders, one order with its history, refunds, overrides and stock adjustments."""

import json
import re
from datetime import datetime

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import OpenConsole, OpenOffice, id_of, put_product
from tests.support.http_shop import HttpShop
from tests.support.office_page import OfficePage
from tests.support.shop import ADMIN, Stock, User, new_buyer

ORDERS_PER_STEP = 25
TIMES = "\N{MULTIPLICATION SIGN}"
PRICE = 4599
UNKNOWN_OUTCOME = "The outcome is unknown. Send it again: it takes effect once."


@pytest.fixture
def buyer() -> User:
    """Return a buyer without orders."""
    return new_buyer()


@pytest.fixture
def paid(shop: HttpShop, product: str, buyer: User) -> str:
    """Return a paid order of three units."""
    return pay_order(shop, product, buyer, "pm_card_visa")


def pay_order(shop: HttpShop, product: str, buyer: User, card: str) -> str:
    """Place and pay an order of three units."""
    order = shop.order((id_of(product), 3), user=buyer)
    assert shop.pay(order, card, user=buyer).status == 200
    return order


def refund(shop: HttpShop, order: str, amount: int) -> None:
    reply = shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"amount": amount, "reason": "Broken cup."})
    assert reply.status == 201, reply


def refunds_of(shop: HttpShop, order: str) -> list[tuple[int, str, list[dict[str, object]]]]:
    """Return amount, status and restocked units of each refund."""
    refunds = shop.call("GET", f"/admin/orders/{order}/refunds", ADMIN).body["refunds"]
    return [(refund["amount"], refund["status"], refund["restock"]) for refund in refunds]


def refuse(route: Route, status: int, code: str) -> None:
    """Respond with a problem."""
    route.fulfill(status=status, json={"title": "Refused", "code": code, "status": status})


def lose_response(route: Route) -> None:
    """Send the request, but respond with a gateway's timeout."""
    route.fetch()
    refuse(route, 504, "gateway_timeout")


def events(office: OfficePage) -> list[str]:
    """Return the names of the shown events."""
    return office.history.locator("strong").all_text_contents()


def test_list_shows_orders_of_all_buyers_newest_first(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User
) -> None:
    other = new_buyer()
    orders = [shop.order((id_of(product), quantity), user=user) for quantity, user in ((1, buyer), (2, other))]
    shop.pay(orders[0], "pm_card_visa", user=buyer)
    refund(shop, orders[0], 1000)

    office = open_office()

    newest, older = office.orders.nth(0), office.orders.nth(1)
    expect(newest).to_contain_text(f"2 {TIMES} {product}")
    expect(newest.locator("td")).to_contain_text([other.sub, "", f"2 {TIMES} {product}", "pending", "$91.98", ""])
    expect(older.locator("td")).to_contain_text(
        [buyer.sub, "", f"1 {TIMES} {product}", "confirmed", "$45.99", "$10.00"]
    )


def test_filters_combine_and_stay_on_the_way_back(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User, paid: str
) -> None:
    pending = shop.order((id_of(product), 1), user=buyer)
    office = open_office()
    office.filter("Buyer id", buyer.sub)
    office.show()
    expect(office.orders).to_have_count(2)

    office.filter("Status", "confirmed")
    office.show()

    expect(office.orders).to_have_count(1)
    expect(office.orders_note).to_have_text("One order.")
    office.orders.get_by_role("link").click()
    expect(office.page.locator("#order-facts")).to_contain_text(paid)
    office.page.get_by_role("link", name="Back to all orders").click()
    expect(office.orders).to_have_count(1)
    office.filter("Status", "pending")
    office.show()
    expect(office.orders.locator("a")).to_have_attribute("title", pending)


def test_filter_by_time_uses_local_time(open_office: OpenOffice, shop: HttpShop, buyer: User, paid: str) -> None:
    placed = datetime.fromisoformat(shop.status(paid, buyer)["createdAt"])
    office = open_office(timezone_id="UTC")
    office.filter("Buyer id", buyer.sub)
    office.filter("Placed from", f"{placed:%Y-%m-%dT%H:%M}")
    office.show()
    expect(office.orders).to_have_count(1)

    office.filter("Placed from", "")
    office.filter("Placed to", f"{placed:%Y-%m-%dT%H:%M}")
    office.show()

    # It was placed later in this minute.
    expect(office.orders_note).to_have_text("No order matches.")
    tokyo = open_office(timezone_id="Asia/Tokyo")
    tokyo.filter("Buyer id", buyer.sub)
    tokyo.filter("Placed from", f"{placed:%Y-%m-%dT%H:%M}")
    tokyo.show()
    expect(tokyo.orders).to_have_count(1)


def test_button_lists_more_orders_until_the_last(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User
) -> None:
    orders = [shop.order((id_of(product), 1), user=buyer) for _ in range(ORDERS_PER_STEP + 2)][::-1]
    office = open_office()
    office.filter("Buyer id", buyer.sub)
    office.show()
    expect(office.orders.locator("a").first).to_have_attribute("title", orders[0])
    expect(office.orders_note).to_have_text(f"Showing {ORDERS_PER_STEP}; there may be more.")
    # It is not applied until the user presses "Show".
    office.filter("Status", "confirmed")

    office.page.locator("#more-orders").press("Enter")

    expect(office.orders_note).to_have_text(f"{ORDERS_PER_STEP + 2} orders.")
    assert [link.get_attribute("title") for link in office.orders.locator("a").all()] == orders
    expect(office.orders.nth(ORDERS_PER_STEP).get_by_role("link")).to_be_focused()


def test_list_of_the_previous_filter_cannot_be_continued(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User
) -> None:
    for _ in range(ORDERS_PER_STEP + 1):
        shop.order((id_of(product), 1), user=buyer)
    office = open_office()
    more = office.page.locator("#more-orders")
    expect(more).to_be_visible()
    held: list[Route] = []
    office.page.route("**/v1/admin/orders?*", lambda route: held.append(route), times=1)
    office.filter("Buyer id", buyer.sub)

    with office.page.expect_request("**/v1/admin/orders?*"):
        office.show()

    expect(more).to_be_hidden()
    held[0].continue_()
    expect(more).to_be_visible()


def test_filtered_list_reads_on_over_empty_pages(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    (found,) = [order for page in shop.pages("admin/orders", ADMIN) for order in page if order["orderId"] == paid]
    office = open_office()

    def answer(route: Route) -> None:
        is_last = "cursor=second" in route.request.url
        route.fulfill(json={"orders": [found] if is_last else [], "cursor": None if is_last else "second"})

    office.page.route("**/v1/admin/orders?*", answer)
    office.filter("Status", "confirmed")
    office.show()

    expect(office.orders).to_have_count(1)
    expect(office.orders_note).to_have_text("One order.")


@pytest.mark.usefixtures("paid")
def test_late_response_does_not_replace_a_newer_filter(open_office: OpenOffice, buyer: User) -> None:
    office = open_office()
    office.filter("Buyer id", buyer.sub)
    held: list[Route] = []
    office.page.route("**/v1/admin/orders?*", lambda route: held.append(route), times=1)
    with office.page.expect_request("**/v1/admin/orders?*"):
        office.page.evaluate("import('/console/order_list.js').then((list) => void list.refreshOrderList())")
    office.show()
    expect(office.orders).to_have_count(1)

    held[0].fulfill(json={"orders": [], "cursor": None})

    office.page.wait_for_timeout(300)
    expect(office.orders).to_have_count(1)


@pytest.mark.usefixtures("paid")
def test_filter_is_applied_while_the_list_is_read(open_office: OpenOffice, buyer: User) -> None:
    office = open_office()
    held: list[Route] = []
    office.page.route("**/v1/admin/orders?*", lambda route: held.append(route), times=1)
    with office.page.expect_request("**/v1/admin/orders?*"):
        office.show()

    office.filter("Buyer id", buyer.sub)
    office.show()

    expect(office.orders_note).to_have_text("One order.")
    held[0].fulfill(json={"orders": [], "cursor": None})
    expect(office.orders).to_have_count(1)


@pytest.mark.usefixtures("paid")
def test_list_remains_if_it_cannot_be_read_again(open_office: OpenOffice, buyer: User) -> None:
    office = open_office(expects=(503,))
    office.filter("Buyer id", buyer.sub)
    office.show()
    expect(office.orders_note).to_have_text("One order.")
    office.page.route("**/v1/admin/orders?*", lambda route: refuse(route, 503, "busy"), times=1)

    office.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(office.page.locator("#orders-problem")).to_contain_text("busy")
    expect(office.orders).to_have_count(1)
    # The failed call leaves the open call in the panel unchanged.
    expect(office.open_calls.locator(".badge")).to_have_text("200")


def test_empty_order_id_shows_the_list(open_office: OpenOffice) -> None:
    office = open_office("")
    expect(office.page.get_by_role("heading", name="All orders")).to_be_visible()
    url = office.page.url

    office.page.get_by_label("Id of an order to open").fill("  ")
    office.page.get_by_role("button", name="Open", exact=True).click()

    office.page.wait_for_timeout(300)
    assert office.page.url == url
    # It is polled.
    with office.page.expect_response("**/v1/products?*"):
        pass


def test_order_is_read_again_after_a_failed_first_read(open_office: OpenOffice, paid: str) -> None:
    office = open_office(expects=(503,))
    office.page.route(f"**/v1/admin/orders/{paid}", lambda route: refuse(route, 503, "busy"), times=1)

    office.open_order(paid)

    expect(office.history).to_have_count(3)
    expect(office.page.locator("#order-problem")).to_be_empty()


def test_unknown_order_is_reported(open_office: OpenOffice) -> None:
    office = open_office(expects=(404,))

    office.page.get_by_label("Id of an order to open").fill("ord_unknown")
    office.page.get_by_role("button", name="Open", exact=True).click()

    expect(office.page.locator("#order-problem")).to_contain_text("order_not_found")


def test_history_of_a_declined_order_says_why(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User
) -> None:
    order = shop.order((id_of(product), 1), user=buyer)
    shop.pay(order, "pm_card_visa_chargeDeclinedInsufficientFunds", user=buyer)

    office = open_office(order)

    expect(office.status).to_have_text("cancelled")
    expect(office.history).to_have_count(3)
    assert events(office) == ["Placed", "Payment started", "Cancelled"]
    expect(office.history.nth(1)).to_contain_text("pm_card_visa_chargeDeclinedInsufficientFunds")
    expect(office.history.nth(1)).to_contain_text(f"by {buyer.sub} · request ")
    expect(office.history.nth(2)).to_contain_text(
        "Your card has insufficient funds. card_declined / insufficient_funds"
    )
    requests = [entry["requestId"] for entry in shop.call("GET", f"/admin/orders/{order}", ADMIN).body["history"]]
    assert office.history.locator("p.quiet code").all_text_contents() == requests
    expect(office.page.locator("#refund")).to_be_hidden()
    expect(office.page.locator("#override-panel")).to_be_hidden()


def test_refund_in_part_puts_units_back(open_office: OpenOffice, shop: HttpShop, product: str, paid: str) -> None:
    office = open_office(paid)
    expect(office.refund_button).to_have_text("Refund $137.97")
    office.enter_refund("One cup was broken.", amount="45.99", restock={product: 1})
    expect(office.refund_button).to_have_text("Refund $45.99")

    office.refund_button.click()

    expect(office.refund_note).to_have_text("$45.99 refunded.")
    expect(office.refunds).to_contain_text(
        [f"$45.99succeededOne cup was broken.Back on the shelf: 1 {TIMES} {product}"]
    )
    expect(office.page.locator("#order-facts")).to_contain_text("Refunded$45.99")
    expect(office.page.get_by_label(f"{product} (up to 2)")).to_have_value("0")
    expect(office.page.get_by_label("Reason", exact=True)).to_have_value("")
    assert events(office) == ["Placed", "Payment started", "Confirmed", "Refund requested", "Refund succeeded"]
    expect(office.history.nth(3)).to_contain_text("One cup was broken.")
    restocked = [{"productId": id_of(product), "quantity": 1}]
    assert refunds_of(shop, paid) == [(PRICE, "succeeded", restocked)]
    assert shop.stock(id_of(product)) == Stock(8, 0, 8)


def test_refund_without_amount_returns_the_rest(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    refund(shop, paid, 1000)
    office = open_office(paid)
    office.enter_refund("The order came back.")

    office.refund_button.click()

    expect(office.page.locator("#refundable")).to_have_text("nothing to refund")
    expect(office.page.locator("#refund")).to_be_hidden()
    expect(office.page.locator("#refunds-heading")).to_be_focused()
    assert [amount for amount, *_ in refunds_of(shop, paid)] == [1000, 3 * PRICE - 1000]


def test_refund_has_the_decimals_of_its_currency(open_office: OpenOffice, shop: HttpShop, product: str) -> None:
    shop.add_product(product_id=id_of(product), name=product, unit_price=500, currency="jpy")
    buyer = new_buyer()
    order = pay_order(shop, product, buyer, "pm_card_visa")
    office = open_office(order)
    office.enter_refund("One cup was broken.", amount="500.5")
    office.refund_button.click()
    expect(office.page.locator("#refund-amount:invalid")).to_be_focused()
    office.enter_refund("One cup was broken.", amount="500")

    office.refund_button.click()

    expect(office.refund_note).to_have_text("¥500 refunded.")
    assert refunds_of(shop, order) == [(500, "succeeded", [])]


def test_double_click_refunds_once(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    office = open_office(paid)
    office.enter_refund("One cup was broken.", amount="10")

    office.refund_button.evaluate("button => { button.click(); button.click(); }")

    expect(office.refund_note).to_have_text("$10.00 refunded.")
    assert refunds_of(shop, paid) == [(1000, "succeeded", [])]


def test_refund_whose_response_was_lost_is_sent_again_unchanged(
    open_office: OpenOffice, shop: HttpShop, product: str, paid: str
) -> None:
    office = open_office(paid, expects=(504,))
    keys: list[tuple[str | None, str | None]] = []

    def lose(route: Route) -> None:
        route.fetch()
        keys.append((route.request.headers.get("idempotency-key"), route.request.post_data))
        route.fulfill(status=504, json={"title": "Gateway timeout", "code": "gateway_timeout", "status": 504})

    office.page.route("**/refunds", lose, times=1)
    office.enter_refund("One cup was broken.", amount="100", restock={product: 3})
    office.refund_button.click()
    expect(office.refund_note).to_have_text(UNKNOWN_OUTCOME)
    # The page has read the order since, and shows the recorded refund.
    expect(office.refunds).to_have_count(1)

    with office.page.expect_request("**/refunds") as again:
        office.refund_button.click()

    expect(office.refund_note).to_have_text("$100.00 refunded.")
    assert keys == [(again.value.headers["idempotency-key"], again.value.post_data)]
    assert len(refunds_of(shop, paid)) == 1
    assert shop.stock(id_of(product)) == Stock(10, 0, 10)


def test_changed_refund_after_a_lost_response_is_a_new_one(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    office = open_office(paid, expects=(504,))
    problem = {"title": "Gateway timeout", "code": "gateway_timeout", "status": 504}
    office.page.route("**/refunds", lambda route: route.fulfill(status=504, json=problem), times=1)
    office.enter_refund("One cup was broken.", amount="100")
    office.refund_button.click()
    expect(office.refund_note).to_contain_text("The outcome is unknown.")

    office.enter_refund("Two cups were broken.", amount="20")
    expect(office.refund_note).to_have_text("The earlier request may have taken effect. Check the refunds.")
    office.refund_button.click()

    expect(office.refund_note).to_have_text("$20.00 refunded.")
    assert refunds_of(shop, paid) == [(2000, "succeeded", [])]


@pytest.mark.parametrize("amount", ["", "10"], ids=["rest", "part"])
def test_reverted_edit_after_a_lost_response_refunds_once(
    open_office: OpenOffice, shop: HttpShop, paid: str, amount: str
) -> None:
    office = open_office(paid, expects=(504,))
    office.page.route("**/refunds", lose_response, times=1)
    office.enter_refund("One cup was broken.", amount=amount)
    office.refund_button.click()
    expect(office.refund_note).to_have_text(UNKNOWN_OUTCOME)
    # The order has changed, but the form still shows the request that was sent.
    expect(office.refunds).to_have_count(1)

    office.enter_refund("One cup was broken!", amount=amount)
    office.enter_refund("One cup was broken.", amount=amount)
    expect(office.refund_note).to_have_text(UNKNOWN_OUTCOME)
    office.refund_button.click()

    expect(office.refund_note).to_have_text(f"${amount or '137.97'}{'.00' if amount else ''} refunded.")
    assert len(refunds_of(shop, paid)) == 1


def test_throttled_retry_of_a_lost_refund_keeps_its_key(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    office = open_office(paid, expects=(504, 429))
    office.page.route("**/refunds", lambda route: refuse(route, 429, "too_many_requests"), times=1)
    office.page.route("**/refunds", lose_response, times=1)
    office.enter_refund("One cup was broken.", amount="10")
    office.refund_button.click()
    expect(office.refund_problem).to_contain_text("gateway_timeout")
    office.refund_button.click()
    expect(office.refund_problem).to_contain_text("too_many_requests")
    expect(office.refund_note).to_have_text(UNKNOWN_OUTCOME)

    office.refund_button.click()

    expect(office.refund_note).to_have_text("$10.00 refunded.")
    assert refunds_of(shop, paid) == [(1000, "succeeded", [])]


def test_refused_refund_shows_why_and_stays_in_the_list(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User
) -> None:
    order = pay_order(shop, product, buyer, "pm_card_createDispute")
    office = open_office(order, expects=(409,))
    office.enter_refund("Asked for it.")

    office.refund_button.click()

    expect(office.refund_problem).to_contain_text("not_refundable")
    expect(office.refunds).to_contain_text([re.compile("refused.*charge_disputed")])
    expect(office.history.last).to_contain_text("Refund refused")
    expect(office.refund_button).to_have_text("Refund $137.97")


def test_refund_larger_than_the_rest_is_refused(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    office = open_office(paid, expects=(409,))
    office.enter_refund("One cup was broken.", amount="130")
    # Another admin refunds before the next poll of this page.
    refund(shop, paid, 2000)
    office.page.locator("#refund").evaluate("form => { form.noValidate = true; }")

    office.refund_button.click()

    expect(office.refund_problem).to_contain_text("refund_too_large")
    expect(office.page.locator("#refundable")).to_have_text("$117.97 can be refunded")


def test_late_response_does_not_hide_a_newer_refund(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    office = open_office(paid)
    expect(office.history).to_have_count(3)
    before = shop.call("GET", f"/admin/orders/{paid}", ADMIN).body
    held: list[Route] = []
    office.page.route(f"**/v1/admin/orders/{paid}", lambda route: held.append(route), times=1)
    with office.page.expect_request(f"**/v1/admin/orders/{paid}"):
        pass  # a poll
    office.enter_refund("One cup was broken.", amount="10")
    office.refund_button.click()
    expect(office.refunds).to_have_count(1)

    held[0].fulfill(json=before)

    office.page.wait_for_timeout(300)
    assert office.refunds.count() == 1


def test_pending_refund_shows_its_end(open_office: OpenOffice, shop: HttpShop, product: str, buyer: User) -> None:
    order = pay_order(shop, product, buyer, "pm_card_pendingRefund")
    office = open_office(order)
    office.enter_refund("Wrong colour.", amount="10")

    office.refund_button.click()

    expect(office.refund_note).to_contain_text("The refund of $10.00 is pending.")
    expect(office.refunds).to_contain_text(["pending"])
    assert events(office)[-1] == "Refund pending"
    details = shop.call("GET", f"/admin/orders/{order}", ADMIN).body
    details["refunds"][0]["status"] = "succeeded"
    office.page.route("**/v1/admin/orders/*", lambda route: route.fulfill(body=json.dumps(details)))
    expect(office.refunds).to_contain_text(["succeeded"])


def test_admin_settles_order_by_hand(
    open_office: OpenOffice, open_console: OpenConsole, shop: HttpShop, product: str
) -> None:
    buyer = open_console()
    order = buyer.place_order(product, 3)
    office = open_office(order)

    office.page.get_by_label("Reason (visible to the buyer)").fill("Paid in cash.")
    # The second submission would be refused with 409.
    office.page.get_by_role("button", name="Override").evaluate("button => { button.click(); button.click(); }")

    expect(office.status).to_have_text("confirmed")
    expect(office.page.locator("#order-note")).to_have_text("The order is confirmed.")
    expect(office.page.locator("#override-panel")).to_be_hidden()
    expect(office.page.locator("#order-heading")).to_be_focused()
    expect(office.open_calls).to_contain_text(f"PUT /v1/admin/orders/{order}/status")
    assert events(office) == ["Placed", "Confirmed by hand"]
    expect(office.history.last).to_contain_text("Paid in cash.")
    expect(buyer.status).to_have_text("confirmed")
    assert shop.stock(id_of(product)) == Stock(7, 0, 7)


def test_override_of_a_payment_in_flight_is_refused(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User
) -> None:
    order = shop.order((id_of(product), 1), user=buyer)
    shop.pay(order, "pm_dummy_timeout_before_charge", user=buyer)
    office = open_office(order, expects=(409,))

    office.page.get_by_role("button", name="Override").click()

    expect(office.page.locator("#override-problem")).to_contain_text("payment_in_progress")
    expect(office.status).to_have_text("pending")


def test_override_of_a_settled_order_shows_why(open_office: OpenOffice, shop: HttpShop, product: str) -> None:
    buyer = new_buyer()
    order = shop.order((id_of(product), 1), user=buyer)
    office = open_office(order, expects=(409,))
    expect(office.status).to_have_text("pending")
    pending = shop.call("GET", f"/admin/orders/{order}", ADMIN).body
    sent: list[str] = []
    office.page.on("request", lambda request: sent.append(request.method))
    # A poll must not show the buyer's payment before the admin's override.
    office.page.route(
        f"**/v1/admin/orders/{order}",
        lambda route: route.continue_() if "PUT" in sent else route.fulfill(json=pending),
    )
    shop.pay(order, "pm_card_visa", user=buyer)

    office.page.get_by_role("button", name="Override").click()

    expect(office.status).to_have_text("confirmed")
    expect(office.page.locator("#override-panel")).to_be_hidden()
    refusal = office.page.locator("#override-problem").get_by_role("alert")
    expect(refusal).to_be_visible()
    expect(refusal).to_contain_text("order_not_pending")


def test_admin_adjusts_stock_with_reason(open_office: OpenOffice, shop: HttpShop, product: str) -> None:
    office = open_office()
    office.edit(product)
    shop.pay(shop.order((id_of(product), 4)))

    office.page.get_by_label("Units to add").fill("15")
    office.page.get_by_label("Reason for the change").fill("A delivery has arrived.")
    office.page.get_by_role("button", name="Change stock").click()

    expect(office.page.locator("#product-editor-note")).to_have_text("There are now 21 in stock.")
    expect(office.stock_of(product)).to_have_text(["21", "0", "21"])
    assert shop.stock(id_of(product)) == Stock(21, 0, 21)


def test_stock_change_whose_response_was_lost_takes_effect_once(
    open_office: OpenOffice, shop: HttpShop, product: str
) -> None:
    office = open_office(expects=(504,))
    office.edit(product)
    office.page.route("**/stock-adjustments", lose_response, times=1)
    office.page.get_by_label("Units to add").fill("5")
    button = office.page.get_by_role("button", name="Change stock")
    button.click()
    expect(office.page.locator("#stock-problem")).to_contain_text("gateway_timeout")
    note = office.page.locator("#product-editor-note")
    expect(note).to_have_text(UNKNOWN_OUTCOME)
    # Opening the product again keeps the request.
    office.edit(product)
    expect(office.page.locator("#stock-problem")).to_be_empty()
    expect(note).to_have_text(UNKNOWN_OUTCOME)

    button.click()

    expect(note).to_have_text("There are now 15 in stock.")
    assert shop.stock(id_of(product)) == Stock(15, 0, 15)


def test_stock_error_remains_visible_after_polls(open_office: OpenOffice, shop: HttpShop, product: str) -> None:
    shop.pay(shop.order((id_of(product), 3)), "pm_dummy_timeout_before_charge")
    office = open_office(expects=(409,))
    office.page.clock.install()
    office.reload()
    office.edit(product)
    office.page.get_by_label("Units to add").fill("-8")
    office.page.get_by_role("button", name="Change stock").click()
    refusal = office.page.locator("#stock-problem")
    expect(refusal).to_contain_text("stock_below_reserved")

    office.poll(2, "/v1/products")

    expect(refusal).to_contain_text("stock_below_reserved")


def test_price_change_keeps_sold_units(open_office: OpenOffice, shop: HttpShop, product: str) -> None:
    office = open_office(expects=(412,))
    office.edit(product)
    shop.pay(shop.order((id_of(product), 4)))
    save = office.page.get_by_role("button", name="Save")

    office.page.get_by_label("Price, in the smallest unit of USD").fill("4999")
    save.click()
    expect(office.page.locator("#offer-problem")).to_contain_text("the product changed after you opened it")
    expect(office.page.locator("#offer-problem")).to_contain_text("6 in stock")
    save.click()

    expect(office.page.locator("#product-editor-note")).to_contain_text("Saved.")
    expect(office.page.locator("#catalogue").get_by_role("row", name=product)).to_contain_text("$49.99")
    assert shop.stock(id_of(product)) == Stock(6, 0, 6)


def test_late_save_does_not_reach_another_product(open_office: OpenOffice, shop: HttpShop, product: str) -> None:
    other = f"Other {product}"
    put_product(shop, other, stock=1)
    office = open_office()
    office.edit(product)
    held: list[Route] = []
    office.page.route("**/v1/admin/products/*", lambda route: held.append(route), times=1)
    save = office.page.get_by_role("button", name="Save", exact=True)
    with office.page.expect_request("**/v1/admin/products/*"):
        save.click()
    office.edit(other)
    expect(office.page.locator("#product-editor-heading")).to_have_text(f"Edit {id_of(other)}")
    held[0].continue_()
    expect(save).not_to_have_attribute("aria-disabled", "true")

    office.page.get_by_label("Name", exact=True).fill(f"Renamed {product}")
    save.click()

    expect(office.page.locator("#product-editor-note")).to_contain_text("Saved.")
    names = [shop.call("GET", f"/products/{id_of(name)}", ADMIN).body["name"] for name in (product, other)]
    assert names == [product, f"Renamed {product}"]


@pytest.mark.parametrize("user", ["Buyer", "Seller"])
def test_office_is_closed_to_other_users(open_office: OpenOffice, paid: str, user: str) -> None:
    office = open_office(paid)
    expect(office.history).to_have_count(3)
    requested: list[str] = []
    office.page.on("request", lambda request: requested.append(request.url))

    office.sign_in(user)
    office.reload()

    expect(office.page.get_by_text("The office is for admins.")).to_be_visible()
    expect(office.page.locator("main section:visible")).to_have_count(1)
    assert not any("/v1/" in url for url in requested)
    office.sign_in("Admin")
    expect(office.history).to_have_count(3)
    expect(office.page.get_by_text("The office is for admins.")).to_be_hidden()


def test_chosen_user_stays_between_shop_and_office(open_office: OpenOffice) -> None:
    office = open_office()
    admin = office.page.get_by_role("radio", name="Admin", exact=True)
    expect(admin).to_be_checked()
    office.page.get_by_role("link", name="Shop").click()
    expect(office.page.get_by_role("radio", name="Buyer", exact=True)).to_be_checked()
    office.sign_in("Admin")

    office.page.get_by_role("link", name="Office").click()

    expect(admin).to_be_checked()
    expect(office.page.get_by_role("link", name="Office")).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("width", [360, 768, 1366, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_office_fits_every_screen_with_enough_contrast(
    open_office: OpenOffice, shop: HttpShop, product: str, buyer: User, width: int, scheme: str
) -> None:
    order = pay_order(shop, product, buyer, "pm_card_createDispute")
    shop.call("POST", f"/admin/orders/{order}/refunds", ADMIN, {"reason": "Asked for it."})
    pending = shop.order((id_of(product), 1), user=buyer)
    office = open_office(viewport={"width": width, "height": 740}, color_scheme=scheme)

    def check() -> None:
        assert office.find_overflow() == []
        assert office.find_low_contrast() == []
        assert office.find_unnamed_controls() == []

    expect(office.orders.first).to_be_visible()
    office.edit(product)
    check()
    office.open_order(order)
    expect(office.history).to_have_count(5)
    check()
    office.open_order(pending)
    expect(office.page.get_by_role("button", name="Override")).to_be_visible()
    check()
    office.sign_in("Seller")
    check()


def test_refund_is_made_by_keyboard(open_office: OpenOffice, shop: HttpShop, paid: str) -> None:
    office = open_office(paid)
    expect(office.refund_button).to_be_visible()
    office.tab_to("#refund-amount")
    office.page.keyboard.type("10")
    office.tab_to("#refund-reason")
    office.page.keyboard.type("One cup was broken.")
    office.tab_to("#refund-button")

    office.page.keyboard.press("Enter")

    expect(office.refund_note).to_have_text("$10.00 refunded.")
    expect(office.refund_button).to_be_focused()
    assert refunds_of(shop, paid) == [(1000, "succeeded", [])]
