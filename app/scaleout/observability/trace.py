"""Which request this is, wherever its work is done: its id, its trace, and the part of it that is
done here.

An id comes with the request or is made at the first hop, and goes with every call, task and event
that follows from it. The trace is as in W3C Trace Context, level 1
(https://www.w3.org/TR/trace-context-1/): `traceparent` names it and the caller's span; each hop has
a span of its own, which it names to those that it calls.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass

# The load balancers use the same two rules.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# A version after 00 may have more behind the flags. Of these only the first bit, "sampled", means
# anything here.
_PARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f](?P<flag>[0-9a-f])(-.*)?"
)
_STATE_LONGEST, _STATE_MOST = 512, 32  # characters and members: what the standard wants to be passed on
_MEMBER = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


@dataclass(frozen=True, slots=True)
class Span:
    """One hop of a request: its part in a web replica, a service, or a task."""

    request_id: str
    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""  # what other tracers pass on by way of us

    def headers(self) -> dict[str, str]:
        """Return what goes with a call, a task or an event."""
        found = {
            "X-Request-ID": self.request_id,
            "traceparent": f"00-{self.trace_id}-{self.span_id}-0{int(self.sampled)}",
        }
        if self.state:
            found["tracestate"] = self.state
        return found


_current: ContextVar[Span | None] = ContextVar("observability_span", default=None)


def current() -> Span | None:
    """Return the hop that this code runs for, if it runs for any."""
    return _current.get()


def headers() -> dict[str, str]:
    """Return what goes with what is sent from here; outside of any request that of a new one."""
    return (_current.get() or follow(lambda _name: None)).headers()


def follow(sent: Callable[[str], object]) -> Span:
    """Return a new hop of the request that the headers name. Missing or invalid ids are
    generated.
    """
    request_id, parent, state = (_text(sent(name)) for name in ("X-Request-ID", "traceparent", "tracestate"))
    if not _REQUEST_ID.fullmatch(request_id):
        request_id = uuid.uuid4().hex
    span_id = secrets.token_hex(8)
    found = _PARENT.fullmatch(parent)
    if not found:
        return Span(request_id, secrets.token_hex(16), span_id)
    sampled = bool(int(found["flag"], 16) & 1)
    return Span(request_id, found["trace"], span_id, sampled, state if _is_state(state) else "")


def enter(span: Span) -> Token[Span | None]:
    """Let what follows belong to this hop, until `leave`."""
    return _current.set(span)


def leave(token: Token[Span | None]) -> None:
    """Let it belong to what it belonged to before."""
    _current.reset(token)


def _text(value: object) -> str:
    return value.strip(" \t") if isinstance(value, str) else ""


def _is_state(state: str) -> bool:
    members = [one for part in state.split(",") if (one := part.strip(" \t"))]
    if len(state) > _STATE_LONGEST or len(members) > _STATE_MOST or not all(map(_MEMBER.fullmatch, members)):
        return False
    return len({one.partition("=")[0] for one in members}) == len(members)
