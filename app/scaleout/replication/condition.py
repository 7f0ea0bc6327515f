"""The condition of this process's databases, for `/health/`, without a query."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections

from scaleout.replication.state import PRIMARY


@dataclass(frozen=True)
class Condition:
    """`readable`: pages can be served. `whole`: no server is lost, and no standby lags too far."""

    readable: bool
    whole: bool


def condition() -> Condition:
    """Return the condition of the databases of all aliases. The first call in a process waits up to
    0.8 s.
    """
    clusters = {id(one.cluster): one.cluster for one in connections.all() if hasattr(one, "cluster")}
    main = connections[PRIMARY].cluster  # type: ignore[attr-defined]  # of replication.backend
    primary = main.primary()
    return Condition(
        readable=primary is not None or main.any_standby() is not None,
        whole=all(one.primary() is not None and len(one.standbys()) == len(one.hosts) - 1 for one in clusters.values()),
    )
