"""DNS lookups and health probes."""

import asyncio
import socket

from watcher.rotation import Probe

PROBE_SECONDS = 1.0  # deadline of a probe

_REQUEST = b"GET /health/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: watcher\r\nConnection: close\r\n\r\n"
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


async def resolve(service: str, port: int) -> set[str] | None:
    """Return the IPv4 addresses of a service; None if the name server does not answer."""
    loop = asyncio.get_running_loop()
    try:
        # The dot ends the name: the resolver appends no search domain.
        found = await loop.getaddrinfo(f"{service}.", port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return set() if error.errno in _NO_SUCH_NAME else None
    except OSError:
        return None
    return {str(address[0]) for *_, address in found}


async def probe(address: str, port: int, seconds: float = PROBE_SECONDS) -> Probe:
    """Ask one replica for its health, within `seconds`."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(_REQUEST)
            return verdict(await reader.readline())
    except TimeoutError:
        return Probe.FAILED if writer is None else Probe.SLOW
    except (OSError, ValueError):
        return Probe.FAILED
    finally:
        if writer is not None:
            writer.transport.abort()


def verdict(status_line: bytes) -> Probe:
    """Return the result of a probe by the answer's first line."""
    protocol, _, rest = status_line.partition(b" ")
    status = rest[:3]
    if not protocol.startswith(b"HTTP/1.") or not status_line.endswith(b"\n"):
        return Probe.FAILED
    if status == b"503":
        return Probe.DRAINING
    return Probe.GOOD if status == b"200" else Probe.FAILED
