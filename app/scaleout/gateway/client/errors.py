"""The reasons why a service gives no answer: each has one status."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """The gateway's own answer, with `status` and a `detail` for the caller; `reason` names it in
    the metrics.
    """

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})


class Failed(Exception):  # noqa: N818 - names what the service did
    """A service has not answered. `touched`: it may have begun to work on the request."""

    status = 502
    touched = True


class Unreachable(Failed):
    """No address is known, or no connection could be made: nothing was sent."""

    status = 503
    touched = False


class Lost(Failed):
    """The connection broke before the answer began. `stale`: an idle one that the service may have
    closed.
    """

    def __init__(self, detail: str, *, stale: bool) -> None:
        super().__init__(detail)
        self.stale = stale


class Slow(Failed):
    """The answer did not begin in time."""

    status = 504


class Silent(Slow):
    """The probe before the first request had no answer: nothing was sent."""

    touched = False


class Broken(Failed):
    """The answer is not valid HTTP."""


class Cut(Exception):  # noqa: N818 - what the service did
    """The answer broke off after its beginning was passed on: the caller's connection is
    cut too.
    """


class CutLate(Cut):
    """The rest of the answer did not arrive in time."""


class CutLong(Cut):
    """The answer has too many bytes."""
