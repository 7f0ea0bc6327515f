"""The admin, added by the patch of docs/your-project.md: each service still passes Django's
checks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from shop.services import APIS, WORKERS
from waiting import TIME_FACTOR

APP = Path(__file__).resolve().parents[2]
PAGE = APP.parent / "docs" / "your-project.md"
SERVICES = ["web", APIS[0], f"{WORKERS[0]}-worker", "migrate"]  # one of each kind
OTHERS = [*APIS[1:], "build"]
PLAIN = ["SECRET_KEY", "CACHE_KEY", "REDIS_CACHE_PASSWORD", "REDIS_QUEUE_PASSWORD", "AWS_SECRET_ACCESS_KEY"]
PLAIN += [f"DB_{one}_PASSWORD" for one in ("SHOP", "USERS", "ORDERS")]


def secrets(folder: Path) -> dict[str, str]:
    """Return variables that name a file for each secret that a service could want."""
    folder.mkdir()
    private = Ed25519PrivateKey.generate()
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = dict.fromkeys(PLAIN, b"secret") | {"IDENTITY_KEY": key, "EVENTS_KEY": key}
    for issuer in ("USERS", "ORDERS"):
        public = private.public_key() if issuer == "USERS" else Ed25519PrivateKey.generate().public_key()
        files[f"IDENTITY_{issuer}_KEYS"] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {f"{name}_FILE": str(folder / name) for name in files}


@pytest.mark.parametrize(
    "services", [SERVICES, pytest.param(OTHERS, marks=pytest.mark.long)], ids=["each kind", "others"]
)
def test_every_service_passes_the_checks_with_the_admin_added_as_documented(
    services: list[str], tmp_path: Path
) -> None:
    patches = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(patches) == 1
    app = tmp_path / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("tests"))
    subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path, input=patches[0], text=True, check=True, timeout=30 * TIME_FACTOR
    )
    assert '"django.contrib.admin"' in (app / "config" / "settings.py").read_text(encoding="utf-8")
    files = secrets(tmp_path / "secrets")

    def check(service: str) -> str:
        result = subprocess.run(
            [sys.executable, "manage.py", "check", "--fail-level", "WARNING"],
            cwd=app,
            env={"PATH": "/usr/bin:/bin", "SERVICE": service, "LOG_LEVEL": "CRITICAL", **files},
            text=True,
            capture_output=True,
            timeout=120 * TIME_FACTOR,
            check=False,
        )
        return "" if result.returncode == 0 else f"{service}: {result.stderr}"

    with ThreadPoolExecutor(2) as pool:
        assert [one for one in pool.map(check, services) if one] == []
