"""The settings of this package: the dictionary `OBSERVABILITY`."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass, field

from scaleout.base.conf import Conf, Dotted, Name


@dataclass(frozen=True)
class Settings:
    """The keys of `OBSERVABILITY`, in small letters."""

    expose_topology: bool = False
    """Whether answers have `X-Served-By`."""

    replica_name: Name = field(default_factory=socket.gethostname)
    """The name of this replica in `X-Served-By`: the host's name by default."""

    measures: Collection[Dotted] = ()
    """Functions that set gauges, called at each request of Prometheus: fast, and without errors."""

    routine_tasks: Collection[Name] = ()
    """Names of Celery tasks that run every few seconds. Only a failure of theirs is logged."""


conf = Conf("OBSERVABILITY", Settings)
