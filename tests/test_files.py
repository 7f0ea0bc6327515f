"""Texts that no file of the repository may contain."""

from __future__ import annotations

import re
from pathlib import Path

from support.settings import ROOT
from support.stack import run

# Hosts outside that the files may name: documentation, standards, and names that stand for
# anything.
KNOWN = re.compile(
    r"""(^|\.)(
        localhost | cdn\.edge | example | example\.(com|org|net)
        | docs\.docker\.com | docs\.djangoproject\.com | docs\.celeryq\.dev | docs\.gunicorn\.org
        | docs\.haproxy\.org
        | docs\.python\.org | nginx\.org | www\.haproxy\.com | www\.postgresql\.org | patroni\.readthedocs\.io
        | redis\.io | prometheus\.io | etcd\.io | www\.rfc-editor\.org | datatracker\.ietf\.org | www\.w3\.org
        | github\.com | developer\.mozilla\.org | keepachangelog\.com | semver\.org | opensource\.org
    )$""",
    re.VERBOSE,
)
INDEX_OPTION = re.compile(
    r"--(extra-)?index-url|--trusted-host|--find-links|PIP_(EXTRA_)?INDEX_URL|npm_config_registry"
)


def texts() -> dict[Path, str]:
    """Return the content of every text file that git has or would take."""
    listed = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    found: dict[Path, str] = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            try:
                found[path.relative_to(ROOT)] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    assert found
    return found


def test_no_file_names_a_host_that_software_would_be_fetched_from() -> None:
    strangers = [
        f"{path}: {host}"
        for path, text in texts().items()
        for host in re.findall(
            r"\b(?:https?|ftp|git)://(?:[^/\s@\"']*@)?([A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2,})\b", text
        )
        if not KNOWN.search(host) and not re.search(r"Packages|catalog.*\.(csv|jsonl)", path.name)
    ]
    assert not strangers


def test_no_file_sends_a_package_client_elsewhere() -> None:
    allowed = {Path("tests/test_files.py")}
    assert not [f"{p}: {m[0]}" for p, text in texts().items() if p not in allowed for m in INDEX_OPTION.finditer(text)]


def test_every_python_requirement_is_pinned_with_its_hash() -> None:
    for name in ("app/requirements.txt", "tests/requirements.txt"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                assert re.match(r"[a-z0-9-]+==\S+\s+--hash=sha256:[0-9a-f]{64}", line), f"{name}: {line[:80]}"


def test_every_image_is_built_from_the_one_base() -> None:
    for path, text in texts().items():
        if path.name.startswith("Dockerfile"):
            stages = set(re.findall(r"(?im)^FROM\s+\S+\s+AS\s+(\S+)", text))
            for base in re.findall(r"(?m)^FROM\s+(\S+)", text):
                assert base == "debian:trixie-slim" or base in stages, f"{path}: {base}"
            assert not re.search(r"(?m)^#\s*syntax=|<<\w|COPY --link", text), path


def test_no_secret_is_in_the_repository() -> None:
    listed = set(texts())
    assert not [path for path in listed if path.parts[0] == "secrets" or path.name == ".env"]
    for path, text in texts().items():
        assert "PRIVATE KEY-----\nM" not in text, path


def test_no_unfinished_business_is_left_in_a_file() -> None:
    words = re.compile(r"\b(TO" + "DO|FIX" + "ME|XX" + "X)\b")
    assert not [f"{path}: {found[0]}" for path, text in texts().items() if (found := words.search(text))]
