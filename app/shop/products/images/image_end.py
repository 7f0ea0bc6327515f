"""The end of an image in its file. Bytes after it may be an archive, a script or a second image.

Each function takes a file that Pillow has recognised, and returns the offset after the image's
last byte. It raises ValueError or IndexError if the file is truncated.
"""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # with a length: no stuffed FF, bare 01, restart or filler
_SCANS = 64  # of a progressive JPEG: each is a pass over all pixels, and thousands take minutes
_MARKERS = 4096  # 8 MB of markers alone take seconds; large metadata have a few hundred


def jpeg(data: bytes) -> int:
    """Return the end of the EOI marker."""
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
        if scans > _SCANS or length < 2 or marker == 0xD8:  # a second start of image
            break
        position += length
    raise ValueError("too many markers or scans for a JPEG")


def png(data: bytes) -> int:
    """Return the end of the chunk IEND."""
    position = 8
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        position += 12 + length
        if kind == b"IEND" and position <= len(data):
            return position
    raise ValueError("no end")


def webp(data: bytes) -> int:
    """Return the end of the RIFF chunk."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ValueError("no end")
    return end
