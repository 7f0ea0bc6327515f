#!/usr/bin/env python3
"""Name each listed word, and each line of Markdown prose over 100 characters, as file:line.

CONTRIBUTING.md says what to write instead. A part of an identifier counts as well: `been_told` has
such a word, `Bearer` has none.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

WORDS = re.compile(
    r"(?<![a-z0-9])(told|anew|bears?|whoever|somebody|nobody|anybody|meanwhile|thereby)(?![a-z0-9])", re.IGNORECASE
)
# This list itself; the licence and the pinned requirements, which others wrote.
SKIPPED = re.compile(r"(^|/)(scripts/words\.py|LICENSE|requirements[^/]*\.txt)$")
LONGEST = 100


def faults(name: str, text: str) -> Iterator[str]:
    """Yield a line for each fault of a file."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        for word in WORDS.findall(line):
            yield f"{name}:{number}: the word '{word}' has a plainer one (CONTRIBUTING.md, Language)"
        if not name.endswith(".md"):
            continue
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        # A row of a table, an image and a URL cannot be broken.
        prose = not (fence or fenced or line.startswith("|") or "![" in line or "://" in line)
        if prose and len(line) > LONGEST:
            yield f"{name}:{number}: {len(line)} characters of prose, {LONGEST} at most"


def main() -> int:
    """Check what git has or would take, below the working directory; return 1 for a fault."""
    git = ["git", "-c", f"safe.directory={Path.cwd()}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = []
    for name in subprocess.run(git, capture_output=True, check=True, text=True).stdout.split("\0"):
        path = Path(name)
        if name and path.is_file() and not SKIPPED.search(name) and b"\0" not in (data := path.read_bytes()):
            found += faults(name, data.decode(errors="replace"))
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
