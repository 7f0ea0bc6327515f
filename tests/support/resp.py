"""Redis's protocol, as far as one command on one connection needs it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import BinaryIO

from support.settings import TIME_FACTOR

PORT = 6379


def replies(host: str, user: str, password: str, commands: Sequence[str], *, patience: float = 5.0) -> list[str]:
    """Return the reply to each of `commands` (words and blanks), each over a new connection.

    An error is returned as Redis writes it, a list as lines. A refused log-in is the reply to its
    command. Without a reply within `patience` seconds, multiplied by TIME_FACTOR, it is "".
    """
    return [_reply(host, ("AUTH", user, password), tuple(command.split()), patience) for command in commands]


def _reply(host: str, login: Sequence[str], command: Sequence[str], patience: float) -> str:
    with contextlib.suppress(OSError), socket.create_connection((host, PORT), patience * TIME_FACTOR) as connection:
        connection.sendall(_packed(login) + _packed(command))
        with connection.makefile("rb") as answers:
            if (said := _read(answers)) != "OK":
                return said
            return _read(answers)
    return ""


def _packed(words: Sequence[str]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word := one.encode()), word) for one in words)


def _read(answers: BinaryIO) -> str:
    line = answers.readline().decode().rstrip("\r\n")
    kind, rest = line[:1], line[1:]
    if kind == "$":
        return answers.read(int(rest) + 2)[:-2].decode() if rest != "-1" else ""
    if kind == "*":
        return "\n".join(_read(answers) for _ in range(int(rest)))
    return rest
