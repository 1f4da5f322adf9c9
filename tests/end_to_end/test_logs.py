"""The deployed functions log enough to trace a request, and no secrets."""

from collections.abc import Callable
from contextlib import closing

from local.stack import Stack
from tests.support.http_shop import HttpShop
from tests.support.shop import ADMIN, ALICE


def test_payment_is_traceable_in_logs_without_secrets(
    stack: Stack, function_logs: Callable[[], str], everything_logged: Callable[[], str]
) -> None:
    token = stack.token(ALICE.sub, ALICE.roles)
    with closing(HttpShop(stack)) as shop:
        order = shop.order((shop.add_product(), 1))
        path = f"/orders/{order}/payment"
        refused = shop.send_with(token, "POST", path, content='{"paymentMethodId":"pm_PlantedPaymentMethod"}')
        shop.send_with(token[:-3], "POST", path)
        shop.send_with(token, "POST", path, content='{"paymentMethodId":"pm_card_visa"}')
        by_hand = shop.order((shop.add_product(), 1))
        shop.override(by_hand, "cancelled", reason="As agreed by telephone.")

    lines = function_logs()
    assert order in lines
    assert refused.body["requestId"] in lines
    (settled,) = (line for line in lines.splitlines() if "order settled by hand" in line and by_hand in line)
    assert all(f'"{value}"' in settled for value in (ADMIN.sub, "cancelled", "As agreed by telephone."))
    for secret in (token.rpartition(".")[2], token.split(".")[1], "PlantedPaymentMethod"):
        assert secret not in lines
    assert "sk_test_" not in everything_logged()
