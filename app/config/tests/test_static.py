"""Static files: the same for every caller, and from the CDN if one is set."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from config.tests.test_services import APP, environment

CDN = "https://cdn.example.com"
LINKS = re.compile(r"<(?:script [^>]*src=|link [^>]*rel=\"stylesheet\")[^>]*>")


def test_a_file_is_everybodys_though_its_caller_shows_a_token(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    (tmp_path / "shop.css").write_text("p {}")
    plain = Client().get("/static/shop.css")
    shown = Client().get("/static/shop.css", headers={"Authorization": "Bearer x"})
    assert plain.getvalue() == shown.getvalue() == b"p {}"
    assert "public" in plain.headers["Cache-Control"]
    assert shown.headers["Cache-Control"] == plain.headers["Cache-Control"]


def test_a_file_and_its_compressed_variant_share_no_strong_etag(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    text = b"p {}" * 999
    (tmp_path / "shop.css").write_bytes(text)
    (tmp_path / "shop.css.gz").write_bytes(gzip.compress(text))
    for coding in ("identity", "gzip"):
        accept = {"Accept-Encoding": coding}
        answer = Client().get("/static/shop.css", headers=accept)
        assert answer.headers.get("Content-Encoding", "identity") == coding
        body = answer.getvalue()
        assert (gzip.decompress(body) if coding == "gzip" else body) == text
        tag = answer.headers["ETag"]
        assert tag.startswith('W/"')
        again = Client().get("/static/shop.css", headers=accept | {"If-None-Match": tag})
        assert (again.status_code, again.headers["ETag"], again.getvalue()) == (304, tag, b"")
    assert Client().get("/static/missing.css").status_code == 404


@pytest.mark.django_db(databases=["default", "replica1", "replica2"])
def test_every_script_and_stylesheet_comes_from_the_cdn_and_may_be_used_across_origins(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STATIC_URL = f"{CDN}/static/"
    monkeypatch.setenv("CDN_URL", CDN)
    for path, least in (("/", 1), ("/api/docs", 3)):
        page = Client().get(path, headers={"Accept": "text/html"})
        links = LINKS.findall(page.content.decode())
        assert len(links) >= least, path
        for link in links:
            assert re.search(rf'(?:src|href)="{CDN}/static/[^"]+"', link), link
            assert 'crossorigin="anonymous"' in link
        assert not re.search(r'(?:src|href)="/static/', page.content.decode())
    assert f"script-src 'self' {CDN};" in page.headers["Content-Security-Policy"]
    assert f"style-src 'self' {CDN} " in page.headers["Content-Security-Policy"]


def test_the_settings_take_the_address_of_the_cdn(tmp_path: Path) -> None:
    look = "from django.conf import settings; print(settings.STATIC_URL)"
    made = environment("products", tmp_path) | {"SERVICE": "build", "CDN_URL": CDN}
    seen = subprocess.run(
        [sys.executable, "-c", look], cwd=APP, env=made, text=True, stdout=subprocess.PIPE, check=True
    )
    assert seen.stdout == f"{CDN}/static/\n"
