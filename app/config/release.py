"""The id of this release's HTML: of the templates and static files that it is made of."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path


def release(base: Path, manifest: Path, *addresses: str) -> str:
    """Return an id: the same for every replica and service of one image and one setting of
    `addresses`.

    It is a digest of the templates of the applications in `base`, of `manifest`, which has the
    hashed names of the static files, and of the addresses that pages begin their links with.
    Without hashed names no manifest exists.
    """
    digest = blake2b(digest_size=6)
    files = sorted(file for file in base.glob("**/templates/**/*") if file.is_file())
    for file in [*files, *([manifest] if manifest.is_file() else [])]:
        digest.update(f"{file.relative_to(base)} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    digest.update(chr(0).join(addresses).encode())
    return digest.hexdigest()
