"""The container's networks: `data` and the application's."""

import ipaddress
import socket
import time
from collections.abc import Iterator
from pathlib import Path

ROUTES = Path("/proc/net/route")


def _words(little_endian_hex: str) -> int:
    return socket.ntohl(int(little_endian_hex, 16))


def attached() -> Iterator[ipaddress.IPv4Network]:
    """Yield the networks that the container is attached to: its routes without a gateway."""
    for line in ROUTES.read_text().splitlines()[1:]:
        _, destination, gateway, *_, mask, _, _, _ = line.split()
        if int(gateway, 16) == 0 and int(mask, 16) != 0:
            yield ipaddress.IPv4Network((_words(destination), str(ipaddress.IPv4Address(_words(mask)))))


def address_of(name: str, seconds: float = 10) -> ipaddress.IPv4Address:
    """Resolve `name`, with retries for `seconds` at most. Raises OSError if it stays unknown."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ipaddress.IPv4Address(socket.gethostbyname(name))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def data_and_others(own_name: str) -> tuple[ipaddress.IPv4Network, list[ipaddress.IPv4Network]]:
    """Return the network on which this container is `own_name`, and its other networks."""
    address = address_of(own_name)
    networks = sorted(set(attached()))
    data = [network for network in networks if address in network]
    if not data:
        raise OSError(f"{own_name} is {address}, which is in none of this container's networks")
    return data[0], [network for network in networks if network not in data]
