"""The request that the current code runs for: its id, its trace, and the current span.

The id comes with the request, or the first hop makes it. It goes with every call, task and event of
the request. The trace follows W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context-1/):
`traceparent` names the trace and the caller's span; each hop has a span of its own and names it in
what it sends.
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
# A version after 00 may have more behind the flags. Only the first bit of them, "sampled", has a
# meaning here.
_PARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f](?P<flag>[0-9a-f])(-.*)?"
)
_STATE_LONGEST, _STATE_MOST = 512, 32  # characters and members: the standard's minimum to pass on
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
    state: str = ""  # the state of other tracers, passed on unchanged

    def headers(self) -> dict[str, str]:
        """Return the headers for a call, a task or an event."""
        found = {
            "X-Request-ID": self.request_id,
            "traceparent": f"00-{self.trace_id}-{self.span_id}-0{int(self.sampled)}",
        }
        if self.state:
            found["tracestate"] = self.state
        return found


_current: ContextVar[Span | None] = ContextVar("observability_span", default=None)


def current() -> Span | None:
    """Return the hop that this code runs for; None outside of any."""
    return _current.get()


def headers() -> dict[str, str]:
    """Return the headers for what is sent from here; those of a new hop outside of any."""
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
    """Make `span` the current hop, until `leave`."""
    return _current.set(span)


def leave(token: Token[Span | None]) -> None:
    """Restore the hop before."""
    _current.reset(token)


def _text(value: object) -> str:
    return value.strip(" \t") if isinstance(value, str) else ""


def _is_state(state: str) -> bool:
    members = [one for part in state.split(",") if (one := part.strip(" \t"))]
    if len(state) > _STATE_LONGEST or len(members) > _STATE_MOST or not all(map(_MEMBER.fullmatch, members)):
        return False
    return len({one.partition("=")[0] for one in members}) == len(members)
