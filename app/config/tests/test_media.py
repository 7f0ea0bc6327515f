"""The URLs by which browsers read and write images, with the settings of production."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import TIME_FACTOR

from config.tests.test_services import APP, environment

NAME = "products/0123456789abcdef.webp"
LOOK = f"""
import json
import django
django.setup()
from django.conf import settings
from django.core.files.storage import default_storage
from shop.products.images import object_names
print(json.dumps({{
    "url": object_names.url("{NAME}"),
    "srcset": object_names.srcset("{NAME}", 400),
    "store": default_storage.url("{NAME}"),
    "upload": settings.MEDIA_UPLOAD_URL,
}}))
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_S3_CUSTOM_DOMAIN", "https://media.shop.example"),
        pytest.param("AWS_S3_CUSTOM_DOMAIN", "media.shop.example/images", marks=pytest.mark.long),
        pytest.param("MEDIA_UPLOAD_URL", "bucket.store.example", marks=pytest.mark.long),
        ("MEDIA_UPLOAD_URL", "https://bucket.store.example/media?x=1"),
        ("AWS_S3_ENDPOINT_URL", "swift:8080"),
    ],
)
def test_an_address_that_is_none_stops_the_service_with_one_clear_line(name: str, value: str, tmp_path: Path) -> None:
    made = environment("products", tmp_path) | {name: value}
    seen = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=APP,
        env=made,
        text=True,
        capture_output=True,
        timeout=60 * TIME_FACTOR,
        check=False,
    )
    assert seen.returncode == 64
    assert len(seen.stderr.splitlines()) == 1
    assert f'{name}="{value}"' in seen.stderr


@pytest.mark.parametrize(
    ("given", "shown", "upload"),
    [
        ({}, "/media/", ""),
        pytest.param({"AWS_S3_CUSTOM_DOMAIN": "", "MEDIA_UPLOAD_URL": ""}, "/media/", "", marks=pytest.mark.long),
        (
            {"AWS_S3_CUSTOM_DOMAIN": "media.shop.example", "MEDIA_UPLOAD_URL": "https://bucket.store.example/"},
            "https://media.shop.example/",
            "https://bucket.store.example",
        ),
        (
            {
                "AWS_S3_ENDPOINT_URL": "https://store.example:9000",
                "MEDIA_UPLOAD_URL": "https://store.example:9000/media",
            },
            "/media/",
            "https://store.example:9000/media",
        ),
    ],
    ids=["unset", "empty", "a CDN and a bucket", "a bucket by path"],
)
def test_images_are_shown_by_the_domain_of_the_cdn_and_put_into_the_bucket(
    given: dict[str, str], shown: str, upload: str, tmp_path: Path
) -> None:
    made = environment("products", tmp_path) | given
    seen = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=APP,
        env=made,
        text=True,
        capture_output=True,
        timeout=60 * TIME_FACTOR,
        check=False,
    )
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout) == {
        "url": f"{shown}{NAME}",
        "srcset": f"{shown}{NAME.removesuffix('.webp')}-320.webp 320w, {shown}{NAME} 400w",
        "store": f"{shown}{NAME}",
        "upload": upload,
    }
