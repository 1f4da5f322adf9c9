"""Progress and the demo's output fit the terminal."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from command_line.output import count_progress, make_progress, width_of
from local.shop import demo
from local.shop.demo import Demo

STEP = "Build the functions and layers (sam build)"
PRODUCTS = {"espresso-cup": "Espresso cup, stoneware", "house-blend-1kg": "House blend, beans, 1 kg"}
DEMO = Demo(
    steps=[
        ("POST /v1/orders", 201, "pending"),
        ("POST /v1/orders/{orderId}/payment", 200, "confirmed"),
        ("GET /v1/orders/{orderId}/status", 200, "confirmed"),
    ],
    order={
        "orderId": f"ord_{0:032x}",
        "buyerId": "buyer-1",
        "status": "confirmed",
        "totalAmount": 4900,
        "currency": "usd",
        "paymentMethod": "stripe-dummy",
        "paymentIntentId": "pi_3d4iVTSSGkiWpcvPc2QZD49Ax",
        "items": [
            {"productId": product_id, "name": name, "quantity": 2, "unitPrice": 1250}
            for product_id, name in PRODUCTS.items()
        ],
    },
    before={product_id: {"stock": 120} for product_id in PRODUCTS},
    after={product_id: {"stock": 118} for product_id in PRODUCTS},
)

at_each_width = pytest.mark.parametrize("width", [60, 80, 120])


def console_of(width: int, *, terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, force_terminal=terminal, highlight=False, color_system=None), out


@at_each_width
def test_step_and_its_duration_fit_one_line(width: int) -> None:
    console, out = console_of(width)

    with make_progress(console)(STEP):
        pass

    started, finished = out.getvalue().splitlines()
    assert started == f"… {STEP}"
    assert finished.startswith(f"✓ {STEP} ")
    assert finished.endswith(" s")
    assert cell_len(finished) <= width


@at_each_width
def test_step_with_a_progress_bar_shows_its_full_name(width: int) -> None:
    console, out = console_of(width, terminal=True)

    with make_progress(console)(STEP, lambda: 0.5):
        pass

    assert f"⠋ {STEP} " in out.getvalue()
    assert "…" not in out.getvalue()


@at_each_width
def test_count_fits_one_line(width: int) -> None:
    console, out = console_of(width)

    with count_progress(console, "Load [b]catalogue.json", 2) as advance:
        advance()
        advance()

    (line,) = out.getvalue().splitlines()
    assert line.startswith("Load [b]catalogue.json ━")
    assert "2/2" in line
    assert cell_len(line) <= width


@at_each_width
def test_demo_output_fits_the_width(width: int) -> None:
    console, out = console_of(width)

    demo.show(DEMO, console)

    lines = out.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    for request, status, outcome in DEMO.steps:
        assert any(line.strip("│ ").split() == [*request.split(), str(status), outcome] for line in lines)
    for name in PRODUCTS.values():
        assert any(name in line and "120 → 118" in line for line in lines)
    assert DEMO.order["orderId"] in out.getvalue()


def test_file_has_a_width_only_if_columns_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console, _ = console_of(80)
    assert width_of(console) is None

    monkeypatch.setenv("COLUMNS", "80")
    assert width_of(console) == 80


def test_terminal_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console, _ = console_of(60, terminal=True)

    assert width_of(console) == 60
