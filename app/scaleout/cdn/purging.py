"""Purge by tag and by URL, outside of the request: one thread a process sends each purge twice.

The second purge is for an answer that was made before the change and was still on its way to the
edge: it arrives after the first purge, and the edge keeps it. AGAIN seconds after a change no such
answer is under way. A process that ends waits for the second purge; a server that gets SIGTERM does
not.

An edge that is down costs a caller nothing. Its purge is lost, and the old answer expires with its
`max-age`.
"""

from __future__ import annotations

import atexit
import http.client
import logging
import re
import signal
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from scaleout.base import Breaker, PerProcess
from scaleout.cdn import metrics
from scaleout.cdn.conf import conf
from scaleout.cdn.tags import EVERYTHING, MOST_BYTES, written

log = logging.getLogger(__name__)

AGAIN = 6.0  # seconds: a replica may show the old for 2, and the load balancer gives up a request after less than 4
PAUSE = 3.0  # seconds without a try after one that failed; shorter than AGAIN, so that a short absence loses nothing
TIMEOUT = 1.0  # seconds to connect, and for the answer
BATCH = 200  # tags in one request
MOST = 5000  # tags that wait; more are sent as EVERYTHING
LAST_TRY = 2.0  # seconds that the end of a process waits for the edge

# http://host/path, with the characters that a request line may have.
_URL = re.compile(r"https?:(//[A-Za-z0-9.:\[\]-]+)(/[!-~]*)?", re.IGNORECASE)


def of_url(url: str) -> str:
    """Return the tag that stands for `url`. No other tag begins with a slash.

    Raises ValueError.
    """
    found = _URL.fullmatch(url.partition("#")[0])
    if found is None:
        raise ValueError(f"{url!r} is not a URL such as https://site.example/news/7")
    return f"{found[1].lower()}{found[2] or '/'}"


def _batches(tags: Iterable[str]) -> Iterator[list[str]]:
    """Yield the tags in batches that fit into one request: at most BATCH tags and
    MOST_BYTES bytes.
    """
    some: list[str] = []
    for tag in tags:
        if len(some) == BATCH or sum(map(len, some)) + len(some) + len(tag) > MOST_BYTES:
            yield some
            some = []
        some.append(tag)
    if some:
        yield some


class Edge:
    """The address of purges: `PURGE` with the tags in `Surrogate-Key`, or of a host and a path.

    Each request has the secret. With https:// the edge's certificate must be valid by the system's
    authorities, or by `SSL_CERT_FILE`.
    """

    def __init__(self, url: str, secret: str) -> None:
        parts = urlsplit(url)
        host = str(parts.hostname)
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=TIMEOUT, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)
        self._headers = {"Authorization": f"Bearer {secret}"}

    def purge(self, tags: Iterable[str]) -> None:
        """Remove from the edge what has one of `tags`, or is one of these URLs (`of_url`).

        Raises OSError, HTTPException.
        """
        every = sorted(tags)
        urls = [one for one in every if one.startswith("//")]
        try:
            for some in _batches(one for one in every if not one.startswith("//")):
                self._send("/", {"Surrogate-Key": " ".join(some)})
            for one in urls:
                host, _, path = one.removeprefix("//").partition("/")
                self._send(f"/{path}", {"Host": host})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. The next purge opens it again."""
        self._connection.close()

    def _send(self, path: str, headers: dict[str, str]) -> None:
        if self._connection.sock is not None:
            try:
                return self._ask(path, headers)
            except (ConnectionError, ssl.SSLEOFError):  # the edge had closed the idle connection
                self._connection.close()
        return self._ask(path, headers)

    def _ask(self, path: str, headers: dict[str, str]) -> None:
        self._connection.request("PURGE", path, headers=self._headers | headers)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"the edge answered {answer.status}")


class Purger:
    """The backlog of tags to purge, and the thread that sends them, which the first tag starts."""

    def __init__(self, edge: Edge, again: float = AGAIN, pause: float = PAUSE) -> None:
        self._edge, self._again, self._breaker = edge, again, Breaker(pause)
        self._wake = threading.Condition()
        self._now: set[str] = set()
        self._later: dict[str, float] = {}  # time of the second purge, by tag, the earliest first
        self._thread: threading.Thread | None = None
        self._ending = self._hurried = False

    def purge(self, tags: Iterable[str]) -> None:
        """Purge `tags`, written as they stand in a header, from the edge soon. Returns at once."""
        wrong = set(tags)
        due = time.monotonic() + self._again
        with self._wake:
            if len(self._later) + sum(one not in self._later for one in wrong) > MOST:
                wrong = {EVERYTHING}
                self._later.clear()
            self._now |= wrong
            if len(self._now) > MOST:
                self._now = {EVERYTHING}
            for one in wrong:
                self._later.pop(one, None)
                self._later[one] = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cdn", daemon=True)
                self._thread.start()
            self._wake.notify()

    def end(self, seconds: float = LAST_TRY, *, hurried: bool = False) -> None:
        """Send the backlog, with each second purge when it is due, and end the thread within
        `seconds`.

        The second purge is sent at once if `hurried`, and where the first one failed.
        """
        with self._wake:
            self._ending, self._hurried = True, hurried
            self._wake.notify()
            thread = self._thread
            last = 0.0 if hurried else max(self._later.values(), default=0.0) - time.monotonic()
        if thread is not None:
            thread.join(max(0.0, last) + seconds)

    def _run(self) -> None:
        while tags := self._next():
            self._tell(tags)
        self._edge.close()

    def _next(self) -> set[str]:
        """Wait until a purge is due, and return it; return nothing at the end."""
        with self._wake:
            while True:
                now = time.monotonic()
                tags, self._now = self._now, set()
                for one, due in list(self._later.items()):
                    if due > now and not (self._hurried or (self._ending and self._breaker.open)):
                        break
                    tags.add(one)
                    del self._later[one]
                if tags or (self._ending and not self._later):
                    return tags
                first = next(iter(self._later.values()), None)
                self._wake.wait(None if first is None else first - now)

    def _tell(self, tags: set[str]) -> None:
        if not self._breaker.allows():
            metrics.purges.labels("dropped").inc(len(tags))
            return
        try:
            self._edge.purge(tags)
        except (OSError, http.client.HTTPException, ValueError) as error:
            metrics.purges.labels("failed").inc(len(tags))
            if self._breaker.failed():
                log.info("edge breaker opened: %s", error)
                metrics.breaker.set(1)
        else:
            metrics.purges.labels("sent").inc(len(tags))
            if self._breaker.worked():
                log.info("edge breaker closed")
                metrics.breaker.set(0)


# Its thread does not survive a fork.
_current = PerProcess(lambda: Purger(Edge(conf().purge_url, conf().purge_secret)))


def purge(*tags: str) -> None:
    """Purge `tags` from the edge of `CDN["PURGE_URL"]`, within a moment.

    Call it after the commit. It returns at once, and raises nothing if the edge is down or not
    configured.
    """
    _purge({one if one == EVERYTHING else written(one) for one in tags})


def purge_urls(*urls: str) -> None:
    """Purge what visitors get at `urls`, with host and query, in all encodings.

    Raises ValueError.
    """
    _purge({of_url(one) for one in urls})


def end(*, hurried: bool = False) -> None:
    """Send the backlog now: for a process that ends without Python's exit handlers, or has
    no time.
    """
    if (purger := _current.made) is not None:
        purger.end(hurried=hurried)


def _purge(wrong: set[str]) -> None:
    if conf().purge_url and wrong:
        _current.own.purge(wrong)


def _at_exit() -> None:
    # Only a server handles SIGTERM, and it must stop quickly. A command has the time to wait.
    end(hurried=signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)


atexit.register(_at_exit)
