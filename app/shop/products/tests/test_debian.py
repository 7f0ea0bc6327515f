import json
import lzma
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from shop.products import debian
from shop.products.models import Product
from shop.products.tests.conftest import ImportFile

SAMPLE = Path(__file__).with_name("Packages.sample")


def printed(*paths: object) -> str:
    out = StringIO()
    call_command("debian_index", *map(str, paths), stdout=out)
    return out.getvalue()


def test_each_package_of_a_real_index_becomes_a_product() -> None:
    records = [json.loads(line) for line in printed(SAMPLE).splitlines()]
    assert [record["name"] for record in records] == ["0ad", "libc6", "hello", "vim", "zsh-doc"]
    assert records[0] == {
        "sku": "deb-0ad",
        "name": "0ad",
        "description": "Real-time strategy game of ancient warfare",
        "category": "debian/games",
        "price": 1512,
        "currency": "EUR",
        "stock": 100,
    }


def test_a_name_that_stands_twice_is_printed_once(tmp_path: Path) -> None:
    packed = tmp_path / "Packages.xz"
    packed.write_bytes(lzma.compress(SAMPLE.read_bytes()))
    assert printed(packed, SAMPLE) == printed(SAMPLE)


@pytest.mark.parametrize(("size", "price"), [(0, 1), (1, 1), (10_240, 1), (10_241, 2), (1_048_576, 103)])
def test_a_price_is_a_cent_for_each_started_10_kib(size: int, price: int) -> None:
    assert debian.product({"Package": "a", "Size": str(size)})["price"] == price


def test_an_area_is_no_part_of_the_section() -> None:
    fields = {"Package": "a", "Size": "1", "Section": "non-free/libs"}
    assert debian.product(fields)["category"] == "debian/libs"


def test_a_long_description_is_kept_with_its_paragraphs() -> None:
    lines = [
        b"Package: a\n",
        b"Description: short\n",
        b" First line.\n",
        b" .\n",
        b" Second.\n",
        b"Size: 1\n",
    ]
    [record] = debian.products(lines, set())
    assert record["description"] == "short\nFirst line.\n\nSecond."


@pytest.mark.parametrize("content", [b"what is this\n", b"Package: a\n\n", b"Package: a\nSize: big\n", b"\x00\xff"])
def test_an_invalid_index_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Packages"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=r"Packages: "):
        printed(path)


@pytest.mark.parametrize("name", ["Packages", "Packages.xz", "Packages.gz", "Packages.lz4"])
def test_a_missing_or_damaged_file_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="No such file"):
        printed(tmp_path / "missing" / name)
    (tmp_path / name).write_bytes(b"\xff" * 40)
    with pytest.raises(CommandError, match=name):
        printed(tmp_path / name)


@pytest.mark.django_db
def test_the_index_imports_without_a_rejected_row(import_file: ImportFile) -> None:
    outcome = import_file("debian.jsonl", printed(SAMPLE))
    assert outcome.code == 0
    assert outcome.out.startswith("created 5, updated 0, unchanged 0, rejected 0 in ")
    assert Product.objects.get(sku="deb-vim").category.slug == "debian-editors"
