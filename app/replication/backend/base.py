"""Connections go to the server that has the alias's role now; one to a server that is lost is never lent.

Django's own pool has one host list for an alias. After a failover it holds connections to servers in their former
roles, each dead host in the list costs a new connection two seconds, and its check is a query before each request,
which a demoted server answers as well. Here there is a pool for each server; the cluster says which one to use.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

from replication import cluster as clusters
from replication.server import Connection, readable

type Pool = ConnectionPool[Connection]

_lock = threading.Lock()
_clusters: dict[tuple[str, ...], clusters.Cluster] = {}
_pools: dict[tuple[str, str], Pool] = {}  # by alias and host


def _close_pools(host: str) -> None:
    """Forget the pools to a server that is lost: a new one knows no old failures and waits for no back-off."""
    with _lock:
        lost = [_pools.pop(key) for key in list(_pools) if key[1] == host]
    for pool in lost:
        pool.close(timeout=0.01)


def _check(connection: Connection) -> None:
    """Refuse a connection that the server has closed. It costs a system call, not a query."""
    if readable(connection):
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.Error:
            connection.close()
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    """One alias: the primary, or with `STANDBY: n` in its settings the n-th standby."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        self._host: str | None = None
        self._hosts: tuple[str, tuple[str, ...]] = ("", ())  # the setting, and the hosts that it names

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of this alias, in an order that does not depend on the alias."""
        setting: str = self.settings_dict["HOST"]
        if self._hosts[0] is not setting:
            self._hosts = (setting, tuple(sorted(setting.split(","))))
        return self._hosts[1]

    @property
    def cluster(self) -> clusters.Cluster:
        """The cluster of this alias's hosts; one for all aliases that name the same."""
        hosts = self.hosts
        found = _clusters.get(hosts)  # without the lock: asked for each query
        if found is not None:
            return found
        with _lock:
            if hosts not in _clusters:
                limits = self.settings_dict.get("LAG", {})
                _clusters[hosts] = clusters.Cluster(
                    hosts,
                    self._connector(),
                    limits.get("seconds", 10.0),
                    limits.get("bytes", 64 * 1024 * 1024),
                )
                _clusters[hosts].on_loss(_close_pools)
            return _clusters[hosts]

    @property
    def host(self) -> str | None:
        """The server that the open connection goes to, or the next one will; None where none can be used."""
        if self.connection is not None and self._host is not None:
            return self._host
        cluster = self.cluster
        number = self.settings_dict.get("STANDBY")
        if number is None:
            return cluster.primary()
        return cluster.standby(number) or cluster.any_standby() or cluster.primary()

    @property
    def server(self) -> str:
        """The server that the open connection goes to; empty where libpq has chosen it."""
        return self._host or ""

    @property
    def pooled(self) -> bool:
        """Whether this process serves: a command opens one connection by libpq's own means instead."""
        return self.alias != NO_DB_ALIAS and bool(self.settings_dict["OPTIONS"].get("pool"))

    def _parameters(self, host: str) -> dict[str, Any]:
        parameters = self.get_connection_params()
        return parameters | {"host": host, "port": self.settings_dict["PORT"].split(",")[0], "autocommit": True}

    def _connector(self) -> Callable[[str], Connection]:
        """Return a function that opens a connection to a host of this alias, for the watch."""
        parameters = self._parameters("") | {"target_session_attrs": "any"}
        for name in ("cursor_factory", "context"):
            parameters.pop(name)

        def connect(host: str) -> Connection:
            return psycopg.connect(**parameters | {"host": host})

        return connect

    @property
    def pool(self) -> Pool | None:
        """The pool to the server that is in use."""
        if not self.pooled or self._host is None:
            return None
        key = (self.alias, self._host)
        found = _pools.get(key)  # without the lock: asked for several times a request
        if found is not None:
            return found
        with _lock:
            if key not in _pools:
                _pools[key] = self._make_pool(self._host)
            return _pools[key]

    def _make_pool(self, host: str) -> Pool:
        cluster = _clusters[self.hosts]
        parameters = self._parameters(host)
        if self.settings_dict.get("STANDBY") is not None:
            parameters["target_session_attrs"] = "any"

        def configure(connection: Connection) -> None:
            cluster.register(host, connection)
            self._configure_connection(connection)  # type: ignore[attr-defined]  # not in the stubs

        return ConnectionPool(
            kwargs=parameters,
            open=False,
            name=f"{self.alias}-{host}",
            configure=configure,
            check=_check,
            **self.settings_dict["OPTIONS"]["pool"],
        )

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection to the server that has the role of this alias. Raises psycopg.OperationalError at once
        where there is none."""
        if not self.pooled:
            return super().get_new_connection(conn_params)
        self._host = None
        self._host = host = self.host
        if host is None:
            raise psycopg.OperationalError(f"no server for {self.alias}: {self.cluster.why_not()}")
        try:
            return super().get_new_connection(conn_params)
        except psycopg.OperationalError:
            self.cluster.suspect(host)
            raise

    def _set_autocommit(self, autocommit: bool) -> None:
        """Tell the driver only if it does not know: that takes time, and Django does it at each request."""
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # not in the stubs

    def close_pool(self) -> None:
        """Close the pools of this alias."""
        with _lock:
            mine = [_pools.pop(key) for key in list(_pools) if key[0] == self.alias]
        for pool in mine:
            pool.close()


def stop_watching() -> None:
    """End the threads that watch the clusters, and close the pools: at the end of a process."""
    with _lock:
        ended, pools = list(_clusters.values()), list(_pools.values())
        _clusters.clear()
        _pools.clear()
    for cluster in ended:
        cluster.stop()
    for pool in pools:
        pool.close(timeout=1.0)


# A pool that is left to the interpreter's end waits 5 s for each of its threads, which cannot run any more.
atexit.register(stop_watching)
