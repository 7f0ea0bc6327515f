"""A real Redis Cluster of the test's own: three primaries and three replicas, with a password."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import waiting

import redis

PASSWORD = "test"
# Seconds: production's is in redis/cluster.conf. A busy machine may stop a node for a second.
NODE_TIMEOUT = max(1.0, waiting.TIME_FACTOR / 2)
eventually = partial(waiting.eventually, not_yet=(redis.RedisError,))


class Node:
    """One server."""

    def __init__(self, folder: Path, port: int, bus: int) -> None:
        self.port, self._bus, self._folder = port, bus, folder / str(port)
        self._folder.mkdir()
        self.start()

    def start(self) -> None:
        """Start it, with what it knew of the cluster, and without data."""
        given = {
            "port": self.port, "cluster-port": self._bus, "cluster-enabled": "yes", "dir": self._folder, "save": "",
            "cluster-node-timeout": int(NODE_TIMEOUT * 1000), "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": 0, "repl-diskless-sync-delay": 0,
            "requirepass": PASSWORD, "masterauth": PASSWORD,
        }  # fmt: skip
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        """The address."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def client(self) -> redis.Redis:
        """A connection of the test's own, to this node only."""
        return redis.Redis(port=self.port, password=PASSWORD, socket_timeout=2, protocol=2)

    def is_content(self) -> bool:
        """Return whether it thinks the cluster well, and every node there."""
        with self.client as client:
            state: Any = client.cluster("INFO")
            nodes: Any = client.cluster("NODES")
        seen = [one["connected"] and "fail" not in one["flags"] for one in nodes.values()]
        return state["cluster_state"] == "ok" and all(seen)

    def has(self, key: str) -> bool:
        """Return whether this node is up, and the primary of `key`."""
        with self.client as client, suppress(redis.RedisError):  # MOVED, for one
            client.get(key)
            return bool(client.role()[0] == b"master")
        return False

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Pause the process: it accepts connections and answers none."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the process."""
        self._process.send_signal(signal.SIGCONT)


class RedisCluster:
    """Six nodes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="redis-cluster-")
        with ExitStack() as held:  # all at once, so that none is given twice
            ports: list[int] = []
            # Not of those that the kernel gives to connections: a node that restarts needs its own.
            for port in random.sample(range(20000, 30000), 500):
                with suppress(OSError):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
                    ports.append(port)
                if len(ports) == 12:
                    break
        self.nodes = [Node(Path(self._folder.name), *ports[number : number + 2]) for number in range(0, 12, 2)]
        for node in self.nodes:
            eventually(node.client.ping, 10, "a node to answer")
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        create = ["redis-cli", "-a", PASSWORD, "--no-auth-warning", "--cluster", "create", *addresses]
        subprocess.run([*create, "--cluster-replicas", "1", "--cluster-yes"], check=True, capture_output=True)
        self.whole()

    @property
    def urls(self) -> list[str]:
        """The addresses of all nodes."""
        return [node.url for node in self.nodes]

    def whole(self) -> None:
        """Wait until three primaries have a replica each that has all they have."""

        def linked() -> bool:
            roles = [node.client.role() for node in self.nodes]
            replicas = sum(len(role[2]) for role in roles if role[0] == b"master")
            return replicas == 3 and all(node.is_content() for node in self.nodes)

        eventually(linked, 20, "three primaries, each with a replica")

    def home(self, key: str) -> Node | None:
        """Return the primary of `key`, if there is one at the moment."""
        return next((node for node in self.nodes if node.has(key)), None)

    def empty(self) -> None:
        """Let every primary forget what it holds."""
        for node in self.nodes:
            with node.client as client:
                if client.role()[0] == b"master":
                    client.flushall()

    def end(self) -> None:
        """Stop everything."""
        for node in self.nodes:
            node.kill()
        self._folder.cleanup()
