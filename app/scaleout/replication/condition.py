"""What the databases of this process are good for at the moment: for `/health/`, without asking
anyone.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections

from scaleout.replication.state import PRIMARY


@dataclass(frozen=True)
class Condition:
    """`readable`: something can be served. `whole`: nothing is lost, and no standby lags too far to
    be read.
    """

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
