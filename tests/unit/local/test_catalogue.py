"""Catalogues as files: what is read from them, and in which words one is refused."""

from pathlib import Path

import pytest

from command_line.errors import CommandError
from local.shop.catalogue import COLUMNS, SAMPLE, Row, read

HEADER = "productId,name,unitPrice,currency,stock\n"


def written(directory: Path, name: str, content: str) -> Path:
    path = directory / name
    path.write_text(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CommandError) as refused:
        read(path)
    return str(refused.value)


def test_a_json_array_is_numbered_by_place(tmp_path: Path) -> None:
    path = written(tmp_path, "c.json", '[{"productId": "tea", "stock": 1}, {"productId": "mug"}]')

    assert read(path) == [Row(1, {"productId": "tea", "stock": 1}), Row(2, {"productId": "mug"})]


def test_csv_is_numbered_by_line_and_its_numbers_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "c.csv", HEADER + 'tea,"Green, fresh",4599,usd,10\n\nmug,Mug,12.5,usd,\n')

    assert read(path) == [
        Row(2, {"productId": "tea", "name": "Green, fresh", "unitPrice": 4599, "currency": "usd", "stock": 10}),
        Row(4, {"productId": "mug", "name": "Mug", "unitPrice": "12.5", "currency": "usd", "stock": ""}),
    ]


def test_the_columns_of_a_csv_file_may_have_another_order(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, "c.csv", "stock,currency,unitPrice,name,productId\n1,usd,2,Tea,tea\n"))

    assert row.values["productId"] == "tea"


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        (
            "c.json",
            "[7]",
            Row(1, {}, "not an object with productId, name, unitPrice, currency, stock"),
        ),
        # The API refuses what is missing.
        ("c.csv", HEADER + "mug,Mug\n", Row(2, {"productId": "mug", "name": "Mug"})),
    ],
    ids=["no object", "too short"],
)
def test_a_row_of_another_form_is_kept_with_its_number(tmp_path: Path, name: str, content: str, row: Row) -> None:
    assert read(written(tmp_path, name, content)) == [row]


def test_a_csv_line_that_is_too_long_is_a_bad_row(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, "c.csv", HEADER + "tea,Tea,1,usd,2,extra\n"))

    assert "quotes" in str(row.fault)


def test_a_second_row_of_a_product_is_a_bad_row_that_names_the_first(tmp_path: Path) -> None:
    tea, mug, again = read(written(tmp_path, "c.csv", HEADER + "tea,T,1,usd,1\nmug,M,1,usd,1\ntea,T,2,usd,2\n"))

    assert (tea.fault, mug.fault) == (None, None)
    assert again.fault == "productId: 'tea' repeats row 2. Keep one"


@pytest.mark.parametrize(
    "header",
    [
        "productId,name,unitPrice,currency",
        "productId,name,unitPrice,currency,stock,colour",
        "id,name,unitPrice,currency,stock",
        "productId,name,unitPrice,currency,stock,name",
        "productId;name;unitPrice;currency;stock",
        "productId\tname\tunitPrice\tcurrency\tstock",
        "",
    ],
)
def test_header_of_other_columns_is_reported_once(tmp_path: Path, header: str) -> None:
    said = refusal(written(tmp_path, "c.csv", f"{header}\ntea,Tea,1,usd,1\nmug,Mug,1,usd,1\n"))

    assert said.endswith(
        f"c.csv has the header {header!r}. Use these columns, separated by commas: {','.join(COLUMNS)}"
    )


@pytest.mark.parametrize(
    ("name", "content"), [("c.json", "[]"), ("c.csv", HEADER), ("c.csv", HEADER + ",,,,\n"), ("c.csv", "")]
)
def test_a_file_without_products_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert f"{name} has no products. Add some" in refusal(written(tmp_path, name, content))


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
def test_what_is_no_catalogue_is_refused_in_words(tmp_path: Path, name: str, content: str, shown: str) -> None:
    said = refusal(written(tmp_path, name, content))

    assert said.startswith(str(tmp_path / name))
    assert shown in said


@pytest.mark.parametrize("name", ["c.json", "c.csv"])
def test_a_file_that_is_no_text_is_refused_in_words(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"productId\n\xff\n")

    assert "Save it as UTF-8" in refusal(path)


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_file_that_is_missing_is_answered_with_one_to_try(tmp_path: Path, name: str) -> None:
    assert "does not exist" in refusal(tmp_path / name)
    assert "local/shop/catalogue.json" in refusal(tmp_path / name)


def test_a_directory_is_refused_in_words(tmp_path: Path) -> None:
    assert "is a directory. Name a .json or .csv file" in refusal(tmp_path)


def test_a_file_that_may_not_be_read_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, "c.json", "[]")
    # Taking the permission away would do nothing where the tests run as root.
    monkeypatch.setattr(Path, "open", denied)

    assert refusal(path) == f"{path} cannot be read: Permission denied. Check its permissions: ls -l {path}"


def test_the_sample_is_a_catalogue() -> None:
    assert all(row.values.keys() == set(COLUMNS) and row.fault is None for row in read(SAMPLE))


@pytest.mark.parametrize("blank", [",,,,", " ,\t,,,  ", ",", ",,,,,,,", '"",,,,'])
def test_blank_row_of_a_spreadsheet_is_skipped_and_still_counted(tmp_path: Path, blank: str) -> None:
    rows = read(
        written(tmp_path, "c.csv", f"{HEADER}{blank}\ntea,Tea,1,usd,1\n{blank}\n{blank}\nmug,Mug,1,usd,1\n{blank}")
    )

    assert [(row.number, row.values["productId"], row.fault) for row in rows] == [(3, "tea", None), (6, "mug", None)]


def test_blank_columns_at_the_end_of_a_spreadsheet_are_ignored(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, "c.csv", HEADER.replace("\n", ",,\n") + "tea,Tea,1,usd,1,, \n"))

    assert row == Row(2, {"productId": "tea", "name": "Tea", "unitPrice": 1, "currency": "usd", "stock": 1})


@pytest.mark.parametrize("product_id", ["", "  "])
def test_rows_without_an_id_do_not_repeat_each_other(tmp_path: Path, product_id: str) -> None:
    rows = read(written(tmp_path, "c.csv", f"{HEADER}{product_id},Tea,1,usd,1\n{product_id},Mug,1,usd,1\n"))

    assert [row.fault for row in rows] == [None, None]


def test_json_row_that_has_a_member_twice_is_a_bad_row_that_names_it(tmp_path: Path) -> None:
    products = '[{"productId": "tea", "stock": 1}, {"productId": "mug", "stock": 1, "name": "Mug", "stock": 20}]'

    tea, mug = read(written(tmp_path, "c.json", products))

    assert tea.fault is None
    assert (mug.number, mug.fault) == (2, "repeated 'stock'. Keep one")


@pytest.mark.parametrize(
    ("name", "content"), [("c.csv", HEADER + "tea,Tea,1,usd,1\n"), ("c.json", '[{"productId": "tea"}]')]
)
def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_catalogue(tmp_path: Path, name: str, content: str) -> None:
    (row,) = read(written(tmp_path, name, f"\ufeff{content}"))

    assert row.values["productId"] == "tea"
