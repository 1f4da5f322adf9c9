"""Stock edits during sales, and items damaged by other services, on an engine that isolates transactions."""

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from order_payments.audit.tables import AuditedTables, Held
from order_payments.domain.errors import Busy, InsufficientStock, PreconditionFailed, ProductNotFound
from order_payments.domain.orders import OrderStatus
from order_payments.runtime.clock import Deadline, utc_now
from order_payments.storage.dynamodb import TransactionRefused, WriteOutcomeUnknown, to_wire, write_transaction
from order_payments.storage.products_table import ProductsTable
from order_payments.storage.stock_adjustments_table import (
    AppliedAdjustment,
    StockAdjustment,
    StockAdjustmentsTable,
    adjustment_id_for,
)
from tests.support.concurrency import run_concurrently
from tests.support.world import World

DAMAGE: list[dict[str, Any]] = [
    {"stock": "5"},
    {"available": "3"},
    {"stock": "5", "available": "3"},
    {"stock": Decimal("5.5")},
    {"available": Decimal("1.5")},
    {"stock": 1, "available": 5},
    {"stock": -1, "available": -1},
    {"available": [3]},
    {"stock": True},
]


def adjustment(change: int, key: str | None = None, *, request_id: str = "r-1") -> StockAdjustment:
    adjustment_id = adjustment_id_for("ada", key)
    return StockAdjustment(adjustment_id, "tea", change, "Counted.", by="ada", at=utc_now(), request_id=request_id)


def adjustments_table(world: World) -> StockAdjustmentsTable:
    return StockAdjustmentsTable(world.service, "StockAdjustmentsTable", ProductsTable(world.service, "ProductsTable"))


def count_records(world: World) -> int:
    return world.fault_free.scan(TableName="StockAdjustmentsTable")["Count"]


def test_concurrent_adjustments_and_sales_lose_no_unit(world: World) -> None:
    world.add_product("tea", 100)
    orders = [world.place({"tea": 1}, f"buyer-{number}") for number in range(16)]

    def adjust(change: int) -> int:
        done = 0
        for number in range(8):
            with suppress(Busy):
                adjustments_table(world).apply(adjustment(change, f"{change}-{number}"), deadline=Deadline.after(20))
                done += change
        return done

    def buy(share: int) -> int:
        for order in orders[share::2]:
            world.pay(order)
        return 0

    changes = sum(run_concurrently([partial(adjust, 3), partial(adjust, -2), partial(buy, 0), partial(buy, 1)]))

    world.initial_stock["tea"] += changes
    world.reconcile()
    world.check_settled()


def test_adjustment_sent_concurrently_is_applied_once(world: World) -> None:
    world.add_product("tea", 100)

    def apply(number: int) -> AppliedAdjustment:
        return adjustments_table(world).apply(
            adjustment(-3, "k", request_id=f"r-{number}"), deadline=Deadline.after(20)
        )

    applied = run_concurrently([partial(apply, number) for number in range(12)])

    assert world.stock("tea") == (97, 97)
    assert {each.product for each in applied} == {world.products.get("tea")}
    assert sorted(each.replayed for each in applied) == [False] + [True] * 11
    assert count_records(world) == 1


def test_one_of_concurrent_edits_of_a_version_succeeds(world: World) -> None:
    world.add_product("tea", 100)
    seen = world.products.get("tea")

    def edit(price: int) -> int | None:
        with suppress(PreconditionFailed, Busy):
            return world.products.put(
                "tea", name="tea", unit_price=price, currency="usd", precondition=lambda now: now == seen
            ).unit_price
        return None

    (made,) = filter(None, run_concurrently([partial(edit, 5000 + number) for number in range(12)]))

    assert world.products.get("tea") == replace(seen, unit_price=made)


@pytest.mark.parametrize("is_written", [True, False])
def test_lost_adjustment_reply_is_resolved_by_reading_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    world.add_product("tea", 100)

    def lose(*args: Any, **kwargs: Any) -> None:
        if is_written:
            write_transaction(*args, **kwargs)
        raise WriteOutcomeUnknown

    monkeypatch.setattr("order_payments.storage.stock_adjustments_table.write_transaction", lose)

    if is_written:
        assert adjustments_table(world).apply(adjustment(-3), deadline=Deadline.after(5)) == (
            world.products.get("tea"),
            False,
        )
    else:
        with pytest.raises(Busy):
            adjustments_table(world).apply(adjustment(-3), deadline=Deadline.after(5))
    assert world.stock("tea")[0] == (97 if is_written else 100)
    assert count_records(world) == is_written


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
def test_stock_move_of_damaged_item_fails_only_on_its_condition(world: World, damage: dict[str, Any]) -> None:
    item = {"productId": "tea", "name": "Tea", "unitPrice": 450, "currency": "usd", "stock": 5, "available": 3}
    for move in (world.products.hold, world.products.take, world.products.sell, world.products.release):
        world.fault_free.put_item(TableName="ProductsTable", Item=to_wire(item | damage))
        with suppress(TransactionRefused):
            write_transaction(world.service, [move("tea", 2)], deadline=Deadline.after(5))


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
def test_put_repairs_damaged_item(world: World, damage: dict[str, Any]) -> None:
    item = {"productId": "tea", "name": "Tea", "unitPrice": 450, "currency": "usd", "stock": 5, "available": 3}
    world.fault_free.put_item(TableName="ProductsTable", Item=to_wire(item | damage))

    product = world.products.put("tea", name="Tea", unit_price=450, currency="usd", stock=9, count_held=lambda _: 4)

    assert (product.stock, product.available) == (9, 5)
    assert world.products.get("tea") == product


@pytest.mark.parametrize("damage", [{"stock": "5"}, {"available": "3"}, {"stock": 1, "available": 5}], ids=str)
def test_documented_repair_works_after_settlement_without_hold(world: World, damage: dict[str, Any]) -> None:
    """See docs/recovery.md, "Repair a product". The charged order is settled after the damage."""
    world.add_product("tea", 5)
    settled, open_ = (world.place({"tea": 2}, buyer) for buyer in ("alice", "bob"))
    world.pay(settled, "pm_dummy_timeout_after_charge")
    world.fault_free.update_item(
        TableName="ProductsTable",
        Key=to_wire({"productId": "tea"}),
        UpdateExpression=f"SET {', '.join(f'{name} = :{name}' for name in damage)}",
        ExpressionAttributeValues=to_wire({f":{name}": value for name, value in damage.items()}),
    )
    world.reconcile()
    assert world.orders.get(settled.order_id).status is OrderStatus.CONFIRMED
    with pytest.raises(ProductNotFound):
        world.products.get("tea")
    assert isinstance(world.pay(open_), InsufficientStock)

    tables = AuditedTables(world.service, "OrdersTable", "ProductsTable")
    product = world.products.put(
        "tea",
        name="tea",
        unit_price=4599,
        currency="usd",
        stock=3,
        count_held=lambda product_id: tables.count_listed_holds().get(product_id, Held()).units,
    )

    assert (product.stock, product.available) == (3, 3)
    world.check_settled()
