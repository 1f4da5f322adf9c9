"""Composition root of the functions: builds each component from the environment.

Functions import this module first, because the import also prepares their fast start (see `start_up`).
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from order_payments.runtime import start_up
from order_payments.runtime.settings import EventSettings, StockAdjustmentSettings, StripeSettings, TableSettings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from order_payments.audit.tables import AuditedTables
    from order_payments.events.dead_letters import DeadLetterQueue
    from order_payments.events.event_bus import EventBus
    from order_payments.storage.order_pages import OrderPages
    from order_payments.storage.orders_table import OrdersTable
    from order_payments.storage.products_table import ProductsTable
    from order_payments.storage.stock_adjustments_table import StockAdjustmentsTable
    from order_payments.stripe_adapter.gateway import StripeGateway


class Components:
    """The components of one function. Each is imported and built on first access, so a function loads only its own.

    Access them while the function starts: an invalid environment then stops the start, and no request waits for them.
    """

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        from order_payments.storage.dynamodb import dynamodb_client

        return dynamodb_client()

    @cached_property
    def products(self) -> "ProductsTable":
        from order_payments.storage.products_table import ProductsTable

        return ProductsTable(self.dynamodb, self._tables.products_table)

    @cached_property
    def orders(self) -> "OrdersTable":
        from order_payments.storage.orders_table import OrdersTable

        return OrdersTable(self.dynamodb, self._tables.orders_table, self.products)

    @cached_property
    def order_pages(self) -> "OrderPages":
        from order_payments.storage.order_pages import OrderPages

        return OrderPages(self.dynamodb, self._tables.orders_table)

    @cached_property
    def stock_adjustments(self) -> "StockAdjustmentsTable":
        from order_payments.storage.stock_adjustments_table import StockAdjustmentsTable

        table = StockAdjustmentSettings.from_environment().stock_adjustments_table
        return StockAdjustmentsTable(self.dynamodb, table, self.products)

    @cached_property
    def audited_tables(self) -> "AuditedTables":
        from order_payments.audit.tables import AuditedTables

        return AuditedTables(self.dynamodb, self._tables.orders_table, self._tables.products_table)

    @cached_property
    def stripe(self) -> "StripeGateway":
        from order_payments.stripe_adapter.gateway import stripe_gateway

        return stripe_gateway(StripeSettings.from_environment(), self.dynamodb)

    @cached_property
    def event_bus(self) -> "EventBus":
        from order_payments.events.event_bus import EventBus, events_client

        return EventBus(events_client(), self._events.event_bus)

    @cached_property
    def dead_letters(self) -> "DeadLetterQueue":
        from order_payments.events.dead_letters import DeadLetterQueue

        return DeadLetterQueue(self._events.dead_letters_url)

    @cached_property
    def _tables(self) -> TableSettings:
        return TableSettings.from_environment()

    @cached_property
    def _events(self) -> EventSettings:
        return EventSettings.from_environment()

    def finish_start(self, warm_up: Callable[[], object] | None = None) -> None:
        """Complete the function's start. `warm_up` is a read through `dynamodb` (see `start_up`)."""
        start_up.finish_start(self.dynamodb if warm_up else None, warm_up)
