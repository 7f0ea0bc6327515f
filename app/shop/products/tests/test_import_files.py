"""The accepted files of an import, and the reports about invalid ones."""

import gzip
import json
import lzma
from collections.abc import Callable
from io import StringIO, TextIOWrapper

import pytest

from shop.products.imports.progress import Progress
from shop.products.imports.source import LINE_MAX
from shop.products.models import Category, Product
from shop.products.tests.conftest import ImportFile, import_path

pytestmark = pytest.mark.django_db

CSV = """sku,name,description,category,price,currency,stock,featured,image_url
A-1,Tent,"Two doors, one ""porch""
and a second line",outdoor/tents,24900,EUR,3,true,https://img.example/tent.jpg
A-2,Mug,,outdoor,890,,,,
"""
JSONL = """{"sku": "A-1", "name": "Tent", "description": "Two doors, one \\"porch\\"\\nand a second line",\
 "category": "outdoor/tents", "price": 24900, "currency": "EUR", "stock": 3, "featured": true,\
 "image_url": "https://img.example/tent.jpg"}

{"sku": "A-2", "name": "Mug", "category": "outdoor", "price": "890", "stock": null}
"""


def loaded() -> list[tuple[object, ...]]:
    fields = (
        "sku",
        "name",
        "description",
        "category__slug",
        "price_amount",
        "currency",
        "stock",
        "featured",
        "image_url",
    )
    return list(Product.objects.order_by("sku").values_list(*fields))


EXPECTED = [
    (
        "A-1",
        "Tent",
        'Two doors, one "porch"\nand a second line',
        "outdoor-tents",
        24900,
        "EUR",
        3,
        True,
        "https://img.example/tent.jpg",
    ),
    ("A-2", "Mug", "", "outdoor", 890, "EUR", 0, False, ""),
]


@pytest.mark.parametrize(("name", "text"), [("a.csv", CSV), ("a.jsonl", JSONL), ("a.ndjson", JSONL)])
@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_csv_and_json_lines_load_the_same_plain_or_packed(
    import_file: ImportFile, name: str, text: str, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    outcome = import_file(name + suffix, pack(text.encode()))
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("created 2, updated 0, unchanged 0, rejected 0 in ")
    assert loaded() == EXPECTED
    tents = Category.objects.get(slug="outdoor-tents")
    assert tents.parent is not None
    assert (tents.name, tents.parent.slug) == ("Tents", "outdoor")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + CSV,  # the mark that spreadsheets put first
        CSV.replace("\n", "\r\n").replace("\r\nand", "\nand"),
        CSV.replace("sku,name", " SKU , Name "),
        CSV.rstrip("\n"),
        CSV.replace("\nA-2", "\n\n\nA-2"),
    ],
)
def test_csv_as_other_programs_write_it_loads_the_same(import_file: ImportFile, text: str) -> None:
    assert import_file("a.csv", text).code == 0
    assert loaded() == EXPECTED


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_semicolon_or_a_tab_may_stand_for_the_comma(import_file: ImportFile, delimiter: str) -> None:
    rows = [["sku", "name", "category", "price"], ["A", "Tent, blue", "outdoor", "1"]]
    assert import_file("a.csv", "\n".join(delimiter.join(row) for row in rows)).code == 0
    assert Product.objects.get().name == "Tent, blue"


def test_standard_input_is_read_with_its_format(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    assert import_path("-").err == "standard input needs --format csv or --format jsonl; nothing was loaded\n"
    path = str(tmp_path) + "/piped"
    with open(path, "w+b") as piped:  # noqa: PTH123 -- a file descriptor is what standard input has
        piped.write(JSONL.encode())
        piped.seek(0)
        monkeypatch.setattr("sys.stdin", TextIOWrapper(piped))
        assert import_path("-", format="jsonl").code == 0
    assert loaded() == EXPECTED


def record(**fields: object) -> str:
    base = {"sku": "A", "name": "Tent", "category": "outdoor", "price": 100}
    return json.dumps({key: value for key, value in (base | fields).items() if value != "absent"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (record(price="12.90"), "price must be a whole number of minor units (cents), not '12.90'"),
        (record(price=12.9), "price must be a whole number of minor units (cents), not 12.9"),
        (record(price=True), "price must be a whole number of minor units (cents), not True"),
        (record(price=-1), "price must be between 0 and 9007199254740991"),
        (record(price=2**53), "price must be between 0 and 9007199254740991"),
        (record(price="9" * 5000), f"price must be a whole number of minor units (cents), not '{'9' * 39}…"),
        (record(price="absent"), "price is missing"),
        (record(price=[]), "price must be a whole number of minor units (cents), not []"),
        (record(name="  "), "name is missing"),
        (record(name=None), "name is missing"),
        (record(name={"en": "Tent"}), "name must be text"),
        (record(name="x" * 201), "name has 201 characters; at most 200 are allowed"),
        (record(name="a\nb"), "name contains a control character"),
        (record(name="a\0b"), "name contains NUL"),
        (record(name="\ud800"), "name is not valid UTF-8"),
        (record(sku="x" * 129), "sku has 129 characters; at most 128 are allowed"),
        (record(description="x" * 20_001), "description has 20001 characters; at most 20000 are allowed"),
        (record(description="a\0b"), "description contains NUL"),
        (record(stock=-1), "stock must be between 0 and 2147483647"),
        (record(stock=2**31), "stock must be between 0 and 2147483647"),
        (record(stock="many"), "stock must be a whole number, not 'many'"),
        (record(currency="EURO"), "currency must be an ISO 4217 code such as EUR, not 'EURO'"),
        (record(currency="XXX"), "currency must be an ISO 4217 code such as EUR, not 'XXX'"),
        (record(featured="maybe"), "featured must be true or false, not 'maybe'"),
        (
            record(category="Outdoor Tents"),
            "category must be a path of slugs such as outdoor/tents, not 'Outdoor Tents'",
        ),
        (
            record(category="/outdoor"),
            "category must be a path of slugs such as outdoor/tents, not '/outdoor'",
        ),
        (record(category="a/b/c/d/e/f"), "category has more than 5 levels"),
        (
            record(image_url="/media/products/0123456789abcdef0123456789abcdef.webp"),
            "image_url is the URL of an uploaded image: leave it out to keep the image",
        ),
        (
            record(image_url="javascript:alert(1)"),
            "image_url must begin with https://, http:// or /, and have no spaces",
        ),
        ("[1, 2]", "not a JSON object"),
        ("{", "not valid JSON: Expecting property name enclosed in double quotes: line 2 column 1 (char 2)"),
        ("[" * 100_000, "not valid JSON: nested too deeply"),
        ("\x00", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_an_invalid_line_is_reported_and_the_others_are_loaded(import_file: ImportFile, line: str, reason: str) -> None:
    outcome = import_file("a.jsonl", f"{record(sku='B')}\n{line}\n{record(sku='C')}\n")
    assert outcome.code == 1
    assert f"/a.jsonl:2: {reason}\n" in outcome.err
    assert outcome.out.startswith("created 2, updated 0, unchanged 0, rejected 1 in ")
    assert set(Product.objects.values_list("sku", flat=True)) == {"B", "C"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"A,Tent,outdoor", "has 3 columns, the header has 4"),
        (b"A,Tent,outdoor,1,2", "has 5 columns, the header has 4"),
        (b'A,"Tent"x,outdoor,1', "not valid CSV: "),
        (b"A,\xff\xfe,outdoor,1", "name is not valid UTF-8"),
        (b"A,,outdoor,1", "name is missing"),
        (b"A,Te\0nt,outdoor,1", "name contains NUL"),
        (b"A,Tent,outdoor,1 000", "price must be a whole number of minor units (cents), not '1 000'"),
        (b"A," + b"x" * LINE_MAX + b",outdoor,1", f"longer than {LINE_MAX} bytes"),
    ],
)
def test_an_invalid_csv_row_is_reported_with_its_first_line(import_file: ImportFile, line: bytes, reason: str) -> None:
    head = b'sku,name,category,price\nB,"Two\nlines",outdoor,1\nC,"Three",outdoor,1\n'
    outcome = import_file("a.csv", head + line + b"\nD,Tent,outdoor,1\n")
    assert outcome.code == 1
    assert "/a.csv:2: name contains a control character\n" in outcome.err
    assert f"/a.csv:5: {reason}" in outcome.err
    assert set(Product.objects.values_list("sku", flat=True)) == {"C", "D"}


def test_a_quote_that_is_never_closed_loses_that_row_only(import_file: ImportFile) -> None:
    outcome = import_file("a.csv", 'sku,name,category,price\nB,Mug,outdoor,1\nA,"Tent,outdoor,1\n')
    assert ":3: not valid CSV: unexpected end of data" in outcome.err
    assert Product.objects.get().sku == "B"


def test_only_the_first_rejections_are_printed_and_the_others_counted(import_file: ImportFile) -> None:
    outcome = import_file("a.jsonl", "{}\n" * 150 + record())
    assert outcome.err.count("sku is missing") == 20
    assert "130 more rows were rejected" in outcome.err
    assert "created 1, updated 0, unchanged 0, rejected 150" in outcome.out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "sku,name,price\n", "the header has no column category"),
        ("a.csv", "", "the header has no column sku, name, category, price"),
        ("a.csv", "\x00\xff", "the header has no column"),
        ("a.csv", "sku,name,category,price,sku\n", "a column is named twice in the header"),
        ("a.txt", "", "must end in .csv, .jsonl, .ndjson (.gz and .xz may follow), or give --format"),
        ("a.jsonl.gz", "no gzip", "unreadable after line 0: Not a gzipped file"),
        ("a.jsonl.xz", "no xz", "unreadable after line 0: "),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    import_file: ImportFile, name: str, content: str, message: str
) -> None:
    outcome = import_file(name, content)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.endswith("; nothing was loaded\n")
    assert outcome.err.count("\n") == 1


def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path: object) -> None:
    assert "a.csv: No such file or directory; nothing was loaded" in import_path(f"{tmp_path}/a.csv").err
    assert "Is a directory; nothing was loaded" in import_path(str(tmp_path), format="csv").err


def test_a_slug_with_another_parent_is_reported(import_file: ImportFile) -> None:
    lines = [
        record(sku="A", category="a/b"),
        record(sku="B", category="a-b"),
        record(sku="C", category="a-b/c"),
    ]
    outcome = import_file("a.jsonl", "\n".join(lines))
    assert ":2: category a-b: a-b is another category's slug" in outcome.err
    assert ":3: category a-b/c: a-b is another category's slug" in outcome.err
    assert set(Category.objects.values_list("slug", flat=True)) == {"a", "a-b"}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_a_log_shows_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 6))
    monkeypatch.setattr("shop.products.imports.progress.time.monotonic", lambda: next(clock))
    for stream, expected in (
        (Terminal(), "\r\x1b[K[###############...............] 200 rows, "),
        (StringIO(), "200 rows, "),
    ):
        progress = Progress(stream, lambda: 0.5)
        for _ in progress.watch(range(250)):
            pass
        assert stream.getvalue().startswith(expected)
        assert "50%" in stream.getvalue()


def test_an_unknown_size_gives_no_percentage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 6))
    monkeypatch.setattr("shop.products.imports.progress.time.monotonic", lambda: next(clock))
    stream = StringIO()
    for _ in Progress(stream, lambda: None).watch(range(250)):
        pass
    assert "%" not in stream.getvalue()


def test_a_sku_in_both_forms_is_one_product(import_file: ImportFile) -> None:
    both = "\n".join([record(sku="Cafe\u0301", name="Zoe\u0308"), record(sku="Caf\u00e9", name="Zo\u00eb")])
    assert import_file("a.jsonl", both).out.startswith("created 1, updated 0, unchanged 0, rejected 0")
    again = import_file("a.csv", "sku,name,category,price\nCafe\u0301,Zoe\u0308,outdoor,100\n")
    assert again.out.startswith("created 0")
    assert list(Product.objects.values_list("sku", "name")) == [("Caf\u00e9", "Zo\u00eb")]
