"""The id of a release: another as soon as its HTML may be, and the same on every replica."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

from config.release import release


def test_the_id_changes_with_a_template_a_static_file_and_an_address_and_with_nothing_else(tmp_path: Path) -> None:
    image = tmp_path / "image"
    page, manifest = image / "shop/templates/shop/page.html", image / "staticfiles/staticfiles.json"

    def now(*addresses: str, base: Path = image) -> str:
        return release(base, base / "staticfiles/staticfiles.json", *addresses)

    page.parent.mkdir(parents=True)
    manifest.parent.mkdir()
    page.write_text("<p>one")
    seen = [now("/static/")]
    manifest.write_text('{"paths": {"shop.css": "shop.1.css"}}')
    seen.append(now("/static/"))
    page.write_text("<p>two")
    seen.append(now("/static/"))
    manifest.write_text('{"paths": {"shop.css": "shop.2.css"}}')
    seen += [now("/static/"), now("https://cdn.example.com/static/"), now("/stat", "ic/")]
    assert len(set(seen)) == len(seen)
    (image / "shop/views.py").write_text("")
    shutil.copytree(image, tmp_path / "replica")
    assert now("/static/") == now("/static/", base=tmp_path / "replica") == seen[3]


def test_the_settings_have_one() -> None:
    assert len(settings.CACHING["RELEASE"]) == 12
