"""Why a request gets no answer of its service: each reason has one status."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """The gateway answers itself, with `status` and a `detail` for the caller; `reason` is what the
    metrics call it.
    """

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})


class Failed(Exception):  # noqa: N818 - what the service did
    """A service has not answered. `touched` says whether it may have begun to work on the
    request.
    """

    status = 502
    touched = True


class Unreachable(Failed):
    """There is no address, or no connection could be made: nothing was sent."""

    status = 503
    touched = False


class Lost(Failed):
    """The connection broke before the answer began. `stale`: it was an old one, which the service
    may have closed.
    """

    def __init__(self, detail: str, *, stale: bool) -> None:
        super().__init__(detail)
        self.stale = stale


class Slow(Failed):
    """The answer did not begin in time."""

    status = 504


class Silent(Slow):
    """It did not even answer the question that comes before the first request: nothing was sent."""

    touched = False


class Broken(Failed):
    """What came is no HTTP answer that could be passed on."""


class Cut(Exception):  # noqa: N818 - what the service did
    """The answer ended before its end, when its beginning was already passed on: the caller's
    connection is cut too.
    """


class CutLate(Cut):
    """The rest of the answer did not come in time."""


class CutLong(Cut):
    """The answer has more bytes than it may have."""
