"""Where an image ends. A file that goes on after it is something else as well: an archive, a
script, a second image.

Each function takes a file that Pillow has recognised, returns the offset after the image's last
byte, and raises ValueError or IndexError where the file ends sooner.
"""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # with a length: no stuffed FF, bare 01, restart or filler
_SCANS = 64  # of a progressive JPEG. Each is a pass over all pixels: thousands of them would take minutes
_MARKERS = 4096  # 8 MB of them, with nothing between, would take seconds; large metadata are a few hundred


def jpeg(data: bytes) -> int:
    """The end of the EOI marker."""
    position, scans = 2, 0
    for _ in range(_MARKERS):
        found = _MARKER.search(data, position)
        if found is None:
            raise ValueError("no end")
        marker, position = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return position
        scans += marker == 0xDA
        length = int.from_bytes(data[position : position + 2])
        if scans > _SCANS or length < 2 or marker == 0xD8:  # a second beginning
            break
        position += length
    raise ValueError("not a JPEG that anybody makes")


def png(data: bytes) -> int:
    """The end of the chunk IEND."""
    position = 8
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        position += 12 + length
        if kind == b"IEND" and position <= len(data):
            return position
    raise ValueError("no end")


def webp(data: bytes) -> int:
    """The end of the RIFF chunk."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ValueError("no end")
    return end
