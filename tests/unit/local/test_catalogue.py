"""Catalogue files: reading rows from JSON and CSV, and error messages."""

from pathlib import Path

import pytest

from command_line.errors import CommandError
from local.shop.catalogue import COLUMNS, CSV_SAMPLE, SAMPLE, Row, read

HEADER = "productId,name,unitPrice,currency,stock\n"


def write(directory: Path, name: str, content: str) -> Path:
    path = directory / name
    path.write_text(content)
    return path


def error_message(path: Path) -> str:
    with pytest.raises(CommandError) as refused:
        read(path)
    return str(refused.value)


def test_json_rows_are_numbered_by_position(tmp_path: Path) -> None:
    path = write(tmp_path, "c.json", '[{"productId": "tea", "stock": 1}, {"productId": "mug"}]')

    assert read(path) == [Row(1, {"productId": "tea", "stock": 1}), Row(2, {"productId": "mug"})]


def test_csv_rows_are_numbered_by_line_with_parsed_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "c.csv", HEADER + 'tea,"Green, fresh",4599,usd,10\n\nmug,Mug,12.5,usd,\n')

    assert read(path) == [
        Row(2, {"productId": "tea", "name": "Green, fresh", "unitPrice": 4599, "currency": "usd", "stock": 10}),
        Row(4, {"productId": "mug", "name": "Mug", "unitPrice": "12.5", "currency": "usd", "stock": ""}),
    ]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_separator_of_a_spreadsheet_is_recognized(tmp_path: Path, separator: str) -> None:
    text = f"{HEADER}tea,Green tea,4599,usd,10\n,,,,\n".replace(",", separator).replace(
        "Green tea", '"Green, ""fresh"""'
    )

    assert read(write(tmp_path, "c.csv", text)) == [
        Row(2, {"productId": "tea", "name": 'Green, "fresh"', "unitPrice": 4599, "currency": "usd", "stock": 10})
    ]


def test_blanks_and_capital_currencies_of_a_spreadsheet_are_understood(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, "c.csv", "productId , name,unitPrice,currency,stock\ntea ,Tea\t, 4599 ,USD ,10 \n"))

    assert row.values == {"productId": "tea", "name": "Tea", "unitPrice": 4599, "currency": "usd", "stock": 10}


def test_row_with_a_quoted_line_break_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    rows = read(write(tmp_path, "c.csv", HEADER + 'tea,"Green\r\ntea",1,usd,1\n\nmug,Mug,1,usd,1\n'))

    assert [row.number for row in rows] == [2, 5]


def test_csv_columns_may_have_any_order(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, "c.csv", "stock,currency,unitPrice,name,productId\n1,usd,2,Tea,tea\n"))

    assert row.values["productId"] == "tea"


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        (
            "c.json",
            "[7]",
            Row(1, {}, "not an object with productId, name, unitPrice, currency, stock"),
        ),
        # The API refuses missing fields.
        ("c.csv", HEADER + "mug,Mug\n", Row(2, {"productId": "mug", "name": "Mug"})),
    ],
    ids=["not an object", "too short"],
)
def test_malformed_row_is_returned_with_its_number(tmp_path: Path, name: str, content: str, row: Row) -> None:
    assert read(write(tmp_path, name, content)) == [row]


def test_csv_row_with_too_many_cells_is_a_bad_row(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, "c.csv", HEADER + "tea,Tea,1,usd,2,extra\n"))

    assert row.fault == "more fields than the 5 of the header. Put quotes around a text with a comma"


def test_repeated_product_is_a_bad_row_that_names_the_first(tmp_path: Path) -> None:
    tea, mug, again = read(write(tmp_path, "c.csv", HEADER + "tea,T,1,usd,1\nmug,M,1,usd,1\ntea,T,2,usd,2\n"))

    assert (tea.fault, mug.fault) == (None, None)
    assert again.fault == "productId: 'tea' repeats row 2. Keep one"


@pytest.mark.parametrize(
    "header",
    [
        "productId,name,unitPrice,currency",
        "productId,name,unitPrice,currency,stock,colour",
        "id,name,unitPrice,currency,stock",
        "productId,name,unitPrice,currency,stock,name",
        "productId;name;unitPrice;currency",
        "productId|name|unitPrice|currency|stock",
        "",
    ],
)
def test_header_with_other_columns_is_reported_once(tmp_path: Path, header: str) -> None:
    message = error_message(write(tmp_path, "c.csv", f"{header}\ntea,Tea,1,usd,1\nmug,Mug,1,usd,1\n"))

    assert message.endswith(
        f"c.csv has the header {header!r}. Use these columns, separated by commas, semicolons or tabs:"
        f" {','.join(COLUMNS)}"
    )


@pytest.mark.parametrize(
    ("name", "content"), [("c.json", "[]"), ("c.csv", HEADER), ("c.csv", HEADER + ",,,,\n"), ("c.csv", "")]
)
def test_file_without_products_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert f"{name} has no products. Add some" in error_message(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("c.json", "", "is not valid JSON"),
        ("c.json", "{", "is not valid JSON"),
        ("c.json", '{"a": 1}', "is not an array of products. Begin it with ["),
        ("c.json", '[{"stock": NaN}]', "NaN is not a JSON value"),
        ("c.json", "[" * 100_000, "is not valid JSON"),
        ("c.csv", HEADER + '"tea', "is not valid CSV"),
        ("c.csv", "\0", "has the header"),
        ("c.yaml", "[]", "is neither .json nor .csv"),
    ],
)
def test_invalid_catalogue_is_refused_with_an_explanation(tmp_path: Path, name: str, content: str, shown: str) -> None:
    message = error_message(write(tmp_path, name, content))

    assert message.startswith(str(tmp_path / name))
    assert shown in message


@pytest.mark.parametrize("name", ["c.json", "c.csv"])
def test_file_that_is_not_utf_8_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"productId\n\xff\n")

    assert "Save it as UTF-8" in error_message(path)


@pytest.mark.parametrize(("name", "sample"), [("c.json", SAMPLE), ("c.yaml", SAMPLE), ("c.csv", CSV_SAMPLE)])
def test_missing_file_is_refused_with_the_path_of_the_sample(tmp_path: Path, name: str, sample: Path) -> None:
    assert error_message(tmp_path / name).endswith(
        f"does not exist. Name a catalogue such as local/shop/{sample.name}."
    )


def test_directory_is_refused_with_advice(tmp_path: Path) -> None:
    assert "is a directory. Name a .json or .csv file" in error_message(tmp_path)


def test_unreadable_file_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, "c.json", "[]")
    # Removing the permission has no effect if the tests run as root.
    monkeypatch.setattr(Path, "open", deny)

    assert error_message(path) == f"{path} cannot be read: Permission denied. Check its permissions: ls -l {path}"


@pytest.mark.parametrize("path", [SAMPLE, CSV_SAMPLE], ids=lambda path: path.suffix)
def test_sample_is_a_valid_catalogue(path: Path) -> None:
    assert all(row.values.keys() == set(COLUMNS) and row.fault is None for row in read(path))


@pytest.mark.parametrize("blank", [",,,,", " ,\t,,,  ", ",", ",,,,,,,", '"",,,,'])
def test_blank_row_of_a_spreadsheet_is_skipped_but_counted(tmp_path: Path, blank: str) -> None:
    rows = read(
        write(tmp_path, "c.csv", f"{HEADER}{blank}\ntea,Tea,1,usd,1\n{blank}\n{blank}\nmug,Mug,1,usd,1\n{blank}")
    )

    assert [(row.number, row.values["productId"], row.fault) for row in rows] == [(3, "tea", None), (6, "mug", None)]


def test_blank_columns_at_the_end_of_a_spreadsheet_are_ignored(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path, "c.csv", HEADER.replace("\n", ",,\n") + "tea,Tea,1,usd,1,, \n"))

    assert row == Row(2, {"productId": "tea", "name": "Tea", "unitPrice": 1, "currency": "usd", "stock": 1})


@pytest.mark.parametrize("product_id", ["", "  "])
def test_rows_without_an_id_do_not_repeat_each_other(tmp_path: Path, product_id: str) -> None:
    rows = read(write(tmp_path, "c.csv", f"{HEADER}{product_id},Tea,1,usd,1\n{product_id},Mug,1,usd,1\n"))

    assert [row.fault for row in rows] == [None, None]


def test_json_row_with_a_repeated_member_is_a_bad_row_that_names_it(tmp_path: Path) -> None:
    products = '[{"productId": "tea", "stock": 1}, {"productId": "mug", "stock": 1, "name": "Mug", "stock": 20}]'

    tea, mug = read(write(tmp_path, "c.json", products))

    assert tea.fault is None
    assert (mug.number, mug.fault) == (2, "repeated 'stock'. Keep one")


@pytest.mark.parametrize(
    ("name", "content"), [("c.csv", HEADER + "tea,Tea,1,usd,1\n"), ("c.json", '[{"productId": "tea"}]')]
)
def test_byte_order_mark_of_a_spreadsheet_is_ignored(tmp_path: Path, name: str, content: str) -> None:
    (row,) = read(write(tmp_path, name, f"\ufeff{content}"))

    assert row.values["productId"] == "tea"
