"""The name of this replica, as `docker compose ps` shows it: web-1, web-2, ..."""

from __future__ import annotations

import os
import re
import secrets
import socket
import struct

_TIMEOUT = 1.0  # seconds


def replica_name() -> str:
    """Return `<service>-<number>` by Docker's reverse DNS, or the host name where that has no
    answer.
    """
    host = socket.gethostname()
    try:
        address = socket.gethostbyname(host)
        container = _pointer(address).split(".")[0]  # <project>-<service>-<number>.<network>
    except (OSError, ValueError, IndexError, struct.error):
        return host
    # The project's and the service's names may hold dashes: SERVICE says where one ends.
    service = re.escape(os.environ.get("SERVICE", ""))
    found = re.search(rf"{service}(?:-canary)?-\d+$", container) if service else None
    return found[0] if found else container


def _pointer(address: str) -> str:
    """Ask Docker's resolver for the PTR record of `address` (RFC 1035).

    The C library would find the container's id in /etc/hosts first. Raises OSError without an
    answer, ValueError if the answer holds no name.
    """
    labels = [*reversed(address.split(".")), "in-addr", "arpa"]
    question = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0" + struct.pack(">HH", 12, 1)
    identifier = secrets.randbelow(1 << 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(_TIMEOUT)
        resolver.connect(("127.0.0.11", 53))
        resolver.send(struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + question)
        answer = resolver.recv(512)
    if struct.unpack_from(">H", answer)[0] != identifier or struct.unpack_from(">H", answer, 6)[0] < 1:
        raise ValueError("the answer has no name")
    # The answer follows the question: a name (a pointer of two bytes, or the name in full), then
    # ten bytes.
    position = 12 + len(question)
    position += 2 if answer[position] >= 0xC0 else len(question) - 4
    return _name(answer, position + 10)


def _name(message: bytes, position: int) -> str:
    """Return the domain name at `position`, following the pointers of RFC 1035, section 4.1.4."""
    labels: list[str] = []
    for _ in range(64):
        length = message[position]
        if length == 0:
            return ".".join(labels)
        if length >= 0xC0:
            position = struct.unpack_from(">H", message, position)[0] & 0x3FFF
        else:
            labels.append(message[position + 1 : position + 1 + length].decode("ascii"))
            position += 1 + length
    raise ValueError("the name has no end")


if __name__ == "__main__":
    print(replica_name())
