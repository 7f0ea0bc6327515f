"""An event as its consumer gets it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID

VERSION = 1  # a consumer refuses a later version, and ignores unknown fields


@dataclass(frozen=True)
class Event:
    """Something that has happened to one aggregate.

    `consumer`: the task that receives it. `outbox`: the alias of the database that keeps it until
    the consumer has confirmed it. `queue`: the queue for that confirmation. `sends`: how many times
    it was sent, this time included. `headers`: those of its message. `bulk`: one of publish_many,
    which single events overtake. `version`: of the message format.
    """

    id: UUID
    name: str
    aggregate: str
    data: dict[str, Any]
    at: datetime
    consumer: str
    outbox: str
    queue: str
    sends: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    bulk: bool = False
    version: int = VERSION

    def message(self) -> dict[str, Any]:
        """Return the event as a JSON-serialisable dictionary, without its headers."""
        found = vars(self) | {"id": str(self.id), "at": self.at.isoformat()}
        del found["headers"], found["bulk"]
        return found

    @classmethod
    def read(cls, message: dict[str, Any]) -> Self:
        """Return the event that `message` holds, without the fields of a later release.

        Raises TypeError, KeyError or ValueError if it holds none.
        """
        known = {one.name for one in fields(cls)} - {"headers", "bulk"}
        found = {name: value for name, value in message.items() if name in known}
        return cls(**found | {"id": UUID(message["id"]), "at": datetime.fromisoformat(message["at"])})
