"""Which release this is, as far as its HTML tells: what it is rendered from, and the static files
that it names.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path


def release(base: Path, manifest: Path, *addresses: str) -> str:
    """Return an id: the same for every replica and service of one image and one setting of
    `addresses`.

    It is of the templates of the applications in `base`, of `manifest`, which has the hashed names
    of the static files (where there is none, they have none), and of the addresses that pages begin
    their links with.
    """
    digest = blake2b(digest_size=6)
    files = sorted(file for file in base.glob("**/templates/**/*") if file.is_file())
    for file in [*files, *([manifest] if manifest.is_file() else [])]:
        digest.update(f"{file.relative_to(base)} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    digest.update(chr(0).join(addresses).encode())
    return digest.hexdigest()
