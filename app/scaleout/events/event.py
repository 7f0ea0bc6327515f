"""An event as its consumer gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID


@dataclass(frozen=True)
class Event:
    """Something that has happened to one aggregate.

    `consumer`: the task that it is for. `outbox`: the alias of the database that it waits in until the producer knows
    that it was received, and `queue` where the producer's workers want to be told. `sends`: how many times it was sent
    with this one. `headers`: those of its message.
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

    def message(self) -> dict[str, Any]:
        """Return the event as JSON can hold it, without its headers."""
        found = vars(self) | {"id": str(self.id), "at": self.at.isoformat()}
        del found["headers"]
        return found

    @classmethod
    def read(cls, message: dict[str, Any]) -> Self:
        """Return the event that `message` holds. Raises TypeError, KeyError or ValueError if it is none."""
        return cls(**message | {"id": UUID(message["id"]), "at": datetime.fromisoformat(message["at"])})
