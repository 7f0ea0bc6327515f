"""Connections to the server that has the alias's role now. A connection to a lost server is never
lent.

Django's own pool has one host list for an alias. After a failover it holds connections to servers
in their former roles, each dead host in the list costs a new connection two seconds, and its check
is a query before each request, which a demoted server answers as well. Here each server has a pool,
shared by the aliases that lead to it, and the cluster chooses the server.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends import utils
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from scaleout.base import in_child
from scaleout.replication import cluster as clusters
from scaleout.replication import doubt, state
from scaleout.replication.server import Connection, readable

PATIENCE = 0.5  # seconds for a connection to a standby; the read can be answered by the primary

type Pool = ConnectionPool[Connection]
type Address = tuple[str, str]  # host and port
# Database, role and session options, whether the server is read as a standby, and the server.
type Key = tuple[str, str, str, bool, Address]

_lock = threading.Lock()
_clusters: dict[tuple[Address, ...], clusters.Cluster] = {}
_pools: dict[Key, Pool] = {}
_lent: dict[Connection, threading.Thread] = {}  # the threads that hold connections of the pools
_wrappers: WeakSet[DatabaseWrapper] = WeakSet()
_inherited: list[Any] = []  # objects of the parent process: never closed, so never collected


def _close_pools(server: Address, *, promoted: bool) -> None:
    """Drop the pools to a lost server: a new pool has no old failures and no back-off.

    For a promoted server drop only the pools whose sessions were meant for a standby.
    """
    with _lock:
        closed = [_pools.pop(key) for key in list(_pools) if key[-1] == server and (key[-2] or not promoted)]
    for pool in closed:
        pool.close(timeout=0.01)


def _collect() -> None:
    """Return the connections of threads that have ended without closing them."""
    for connection, thread in list(_lent.items()):
        pool = getattr(connection, "_pool", None)
        if not thread.is_alive() and _lent.pop(connection, None) is not None and pool is not None:
            pool.putconn(connection)


@in_child
def _forget() -> None:
    """Leave every connection, pool and watch to the parent, in the child of a fork.

    Two processes on one socket get each other's answers, and closing it would close the parent's.
    """
    global _lock  # noqa: PLW0603 - a thread of the parent may hold it
    _lock = threading.Lock()
    _inherited.extend([dict(_clusters), dict(_pools), dict(_lent)])
    for one in (_clusters, _pools, _lent):
        one.clear()
    for wrapper in list(_wrappers):
        wrapper.forget()


class _Noting:
    """Record statements that bypass Django's query watcher. If unsure, count them as writes."""

    cursor: Any
    db: Any

    def callproc(self, *arguments: Any, **more: Any) -> Any:
        """Call a procedure."""
        state.current().note_write(self.db.alias)
        with doubt.write(self.db, ends=self.db.autocommit):
            return super().callproc(*arguments, **more)  # type: ignore[misc]  # of CursorWrapper

    def copy(self, *arguments: Any, **more: Any) -> Any:
        """Run COPY, either way."""
        state.current().note_write(self.db.alias)
        return self.cursor.copy(*arguments, **more)

    def stream(self, *arguments: Any, **more: Any) -> Any:
        """Execute, and yield the rows one by one."""
        state.current().note_write(self.db.alias)
        return self.cursor.stream(*arguments, **more)


class CursorWrapper(_Noting, utils.CursorWrapper):
    """Django's cursor, with these records."""


class CursorDebugWrapper(_Noting, utils.CursorDebugWrapper):
    """Django's debug cursor, with these records."""


def _check(connection: Connection) -> None:
    """Refuse a connection that the server has closed. It costs a system call, not a query."""
    if readable(connection):
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.Error:
            connection.close()
            raise


class DatabaseWrapper(base.DatabaseWrapper):
    """A database alias: the primary, or with `STANDBY: n` in its settings the n-th standby."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = "default") -> None:
        super().__init__(settings_dict, alias)
        self._host: str | None = None
        self._owner: DatabaseWrapper = self
        self._servers: tuple[tuple[str, str], dict[str, Address]] = (("", ""), {})  # the settings, and their servers
        _wrappers.add(self)

    @property
    def servers(self) -> dict[str, Address]:
        """The servers of this alias by name, in an order that is the same for every alias.

        The name is the host, or host and port if several have the same host.
        """
        named = (self.settings_dict["HOST"], str(self.settings_dict["PORT"]))
        if self._servers[0] != named:
            self._servers = (named, _servers(*named))
        return self._servers[1]

    @property
    def cluster(self) -> clusters.Cluster:
        """The cluster of this alias's servers; one for all aliases with the same servers."""
        servers = self.servers
        key = tuple(servers.values())
        found = _clusters.get(key)  # without the lock: read for each query
        if found is not None:
            return found
        with _lock:
            if key not in _clusters:
                limits = self.settings_dict.get("LAG", {})
                _clusters[key] = clusters.Cluster(
                    list(servers),
                    self._connector(),
                    limits.get("seconds", 10.0),
                    limits.get("bytes", 64 * 1024 * 1024),
                )
                _clusters[key].on_change(lambda host, promoted: _close_pools(servers[host], promoted=promoted))
            return _clusters[key]

    @property
    def host(self) -> str | None:
        """The server of the open or the next connection; None if none can be used."""
        if self.connection is not None and self._host is not None:
            return self._host
        cluster, trail = self.cluster, state.current()
        if trail.replica == self.alias and trail.host:
            return self._chosen(cluster, trail)
        number = self.settings_dict.get("STANDBY")
        if number is None:
            return cluster.primary()
        return cluster.standby(number) or cluster.any_standby() or cluster.primary()

    @staticmethod
    def _chosen(cluster: clusters.Cluster, trail: state.Trail) -> str | None:
        """Return the server that the reader has chosen; if it is lost, one that has replayed as
        much.
        """
        assert trail.host is not None  # noqa: S101 - for mypy
        if not cluster.up(trail.host):
            trail.after = max(trail.after, cluster.position(trail.host))
            new_enough = (host for host in cluster.standbys() if cluster.position(host) >= trail.after)
            trail.host = next(new_enough, None) or cluster.primary()
        return trail.host

    @property
    def server(self) -> str:
        """The server of the open connection; empty if libpq has chosen it."""
        return self._host or ""

    @property
    def pooled(self) -> bool:
        """Whether this process serves requests: a command opens one connection by libpq alone."""
        return self.alias != NO_DB_ALIAS and bool(self.settings_dict["OPTIONS"].get("pool"))

    def _parameters(self, host: str) -> dict[str, Any]:
        parameters = self.get_connection_params()
        name, port = self.servers[host]
        return parameters | {"host": name, "port": port, "autocommit": True}

    def _connector(self) -> Callable[[str], Connection]:
        """Return a function that opens a connection to a host of this alias, for the watch."""
        by_host = {host: self._parameters(host) | {"target_session_attrs": "any"} for host in self.servers}
        for parameters in by_host.values():
            for name in ("cursor_factory", "context"):
                parameters.pop(name)

        def connect(host: str) -> Connection:
            return psycopg.connect(**by_host[host])

        return connect

    @property
    def pool(self) -> Pool | None:
        """The pool of the server in use, shared by all aliases of one database and role that lead
        to it.
        """
        if not self.pooled or self._host is None:
            return None
        return self._owner.pool_to(self._host)

    def pool_to(self, host: str) -> Pool:
        """Return the pool to a server of this alias with this alias's settings."""
        settings = self.settings_dict
        session = settings["OPTIONS"].get("options", "")
        key = (settings["NAME"], settings["USER"], session, "STANDBY" in settings, self.servers[host])
        found = _pools.get(key)  # without the lock: read several times a request
        if found is not None:
            return found
        with _lock:
            if key not in _pools:
                _pools[key] = self._make_pool(host)
            return _pools[key]

    def _owner_at(self, host: str) -> DatabaseWrapper:
        """Return the alias that owns the pool to `host`: a standby's alias uses the primary's pool
        there.
        """
        primary = connections[state.PRIMARY]
        if "STANDBY" in self.settings_dict and host == self.cluster.primary() and isinstance(primary, DatabaseWrapper):
            mine, other = self.settings_dict, primary.settings_dict
            if (mine["NAME"], mine["USER"], self.servers) == (other["NAME"], other["USER"], primary.servers):
                return primary
        return self

    def _make_pool(self, host: str) -> Pool:
        cluster = _clusters[tuple(self.servers.values())]
        parameters, options = self._parameters(host), dict(self.settings_dict["OPTIONS"]["pool"])
        if "STANDBY" in self.settings_dict:
            parameters["target_session_attrs"] = "any"
            options["timeout"] = min(PATIENCE, options["timeout"])

        def configure(connection: Connection) -> None:
            cluster.register(host, connection)
            connection.add_notice_handler(lambda notice: cluster.writes.note(connection, notice.message_primary))
            self._configure_connection(connection)  # type: ignore[attr-defined]  # not in the stubs

        return ConnectionPool(
            kwargs=parameters,
            open=False,
            name=f"{self.settings_dict['NAME']}-{host}",
            configure=configure,
            check=_check,
            **options,
        )

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection to the server that has the role of this alias.

        Raises psycopg.OperationalError at once if no server has it.
        """
        if not self.pooled:
            return super().get_new_connection(conn_params)
        self._host = None
        self._host = host = self.host
        if host is None:
            state.current().done.failed = True
            raise psycopg.OperationalError(f"no server for {self.alias}: {self.cluster.why_not()}")
        self._owner = self._owner_at(host)
        _collect()
        try:
            connection = super().get_new_connection(conn_params)
        except (PoolTimeout, PoolClosed, TooManyRequests):
            state.current().done.failed = True
            raise  # all of this process's connections are in use: the server may be well
        except psycopg.OperationalError:
            state.current().done.failed = True
            self.cluster.suspect(host)
            raise
        _lent[connection] = threading.current_thread()
        return connection

    def _close(self) -> None:
        _lent.pop(self.connection, None)
        super()._close()  # type: ignore[misc]  # not in the stubs

    def forget(self) -> None:
        """In the child of a fork: open its own connection at the next query."""
        _inherited.append(self.connection)
        self.connection = None
        self._host = None
        self._owner = self

    def make_cursor(self, cursor: Any) -> CursorWrapper:
        """Return a cursor that records writes."""
        return CursorWrapper(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> CursorDebugWrapper:
        """Return a cursor that records writes, and keeps the queries."""
        return CursorDebugWrapper(cursor, self)

    def _set_autocommit(self, autocommit: bool) -> None:
        """Call the driver only for a change: the call takes time, and Django makes it at each
        request.
        """
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)  # type: ignore[misc]  # not in the stubs

    def _commit(self) -> None:
        trail = state.current()
        with doubt.write(self, ends=trail.stray or self.alias in trail.done.written):
            super()._commit()  # type: ignore[misc]  # not in the stubs

    def close_pool(self) -> None:
        """Close the pools of this alias's database, which its other aliases share."""
        mine = (self.settings_dict["NAME"], self.settings_dict["USER"])
        with _lock:
            closed = [_pools.pop(key) for key in list(_pools) if key[:2] == mine]
        for pool in closed:
            pool.close()


def _servers(hosts: str, ports: str) -> dict[str, Address]:
    """Return the servers in libpq's lists of hosts and ports.

    Raises ImproperlyConfigured for unequal lists.
    """
    names, numbers = hosts.split(","), ports.split(",")
    if len(numbers) == 1:
        numbers *= len(names)
    if len(names) != len(numbers):
        raise ImproperlyConfigured(f"PORT must have one port, or one for each of the {len(names)} hosts: {ports!r}")
    addresses = sorted(zip(names, numbers, strict=True))
    return {host if names.count(host) == 1 else f"{host}:{port}": (host, port) for host, port in addresses}


def stop_watching() -> None:
    """Stop the threads that watch the clusters and close the pools, at the end of a process."""
    with _lock:
        ended, pools = list(_clusters.values()), list(_pools.values())
        _clusters.clear()
        _pools.clear()
    for cluster in ended:
        cluster.stop()
    for pool in pools:
        pool.close(timeout=1.0)


# An open pool at the interpreter's end waits 5 s for each of its threads, which cannot run any
# more.
atexit.register(stop_watching)
