"""Start nginx, update its upstream and its settings, and exit with it."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from watcher import network, render, settings, tries
from watcher.nginx import RUN, Nginx
from watcher.rotation import Rotation

PORT = 8000
SOCKET = RUN / "reload.sock"
OUTCOMES = RUN / "outcomes.sock"
ONCE = RUN / "once"  # while this file exists nginx retries no slow request
EVERY = 0.5  # seconds between the starts of two rounds of probes
PAUSE = 0.1  # seconds between two rounds at least
EDGE = "cdn.edge"  # the CDN's containers, in the network `edge`
EDGE_EVERY = 2.0  # seconds between two lookups of it


def log(event: str, **fields: object) -> None:
    """Write one JSON line in one call: nginx writes to the same stream."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | fields
    sys.stdout.write(json.dumps(line) + "\n")


class Watcher:
    """The loop: resolve, probe, render, and reload after a change only."""

    def __init__(self, wanted: settings.Settings, pair: Mapping[str, str]) -> None:
        self._settings = wanted
        self._pair = pair  # the certificate and its key
        self._one = asyncio.Lock()  # a round of the loop and a requested reload never overlap
        self._rotation = Rotation()
        self._nginx = Nginx()
        self._edges: set[str] = set()
        self._used: dict[str, str] = {}  # the upstream and the trusted networks that nginx uses
        self._refused: dict[str, str] = {}  # the last files that nginx rejected, to log them once
        self._budget = tries.Budget()

    async def run(self) -> int:
        """Run until nginx exits; return the exit code."""
        complaint = await self._prepare()
        if complaint:
            log("refused", complaint=complaint)
            return 1
        await tries.listen(self._budget, OUTCOMES)
        await self._nginx.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await asyncio.start_unix_server(self._asked, SOCKET)

        ended = asyncio.create_task(self._nginx.wait())
        signalled = asyncio.create_task(stop.wait())
        watch = asyncio.create_task(self._watch())
        edges = asyncio.create_task(self._watch_edges())
        await asyncio.wait((ended, signalled, watch, edges), return_when=asyncio.FIRST_COMPLETED)
        expected = signalled.done() and not ended.done()
        watch.cancel()
        edges.cancel()
        self._nginx.quit()
        code = await ended
        for task in (watch, edges):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        log("ended", code=code, expected=expected)
        return 0 if expected and code == 0 else 1

    async def _prepare(self) -> str:
        """Render all files and check them; return nginx's complaint."""
        await asyncio.gather(self._look(), self._look_for_edges())
        self._log_replicas()
        return await self._use_all()

    async def _use_all(self) -> str:
        rendered = self._render()
        own = {"settings.conf": render.settings_conf(self._settings), "listen.conf": render.listen_conf(self._settings)}
        complaint = await self._nginx.use({**own, **rendered, **self._pair})
        if not complaint:
            self._used, self._refused = rendered, {}
        return complaint

    async def _asked(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the command `reload`: `ok` once the new settings are in use, else a complaint."""
        async with self._one:
            complaint = await self._renew()
        log("settings", complaint=complaint)
        writer.write((complaint or "ok").encode())
        writer.close()

    async def _renew(self) -> str:
        """Use the current settings in /etc/lb, or keep the old ones; return the complaint."""
        before = self._settings, self._pair
        try:
            self._settings, self._pair = settings.load()
        except settings.BadSettingError as error:
            return str(error)
        await self._look()
        complaint = await self._use_all()
        if complaint:
            self._settings, self._pair = before
            return f"refused: {_first(complaint)}"
        return "" if await self._nginx.reload() else "old nginx workers still accept connections"

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            async with self._one:
                await self._look()
                await self._count()
                await self._apply()
            await asyncio.sleep(max(PAUSE, begun + EVERY - loop.time()))

    async def _look(self) -> None:
        """Resolve all names in parallel, then probe all replicas in parallel."""
        weights = self._settings.upstreams
        answers = await asyncio.gather(*(network.resolve(service, PORT) for service in weights))
        self._rotation.resolved(dict(zip(weights, answers, strict=True)), weights)
        addresses = list(self._rotation.replicas)
        probes = await asyncio.gather(*(network.probe(address, PORT) for address in addresses))
        for address, probe in zip(addresses, probes, strict=True):
            self._rotation.probed(address, probe)

    async def _count(self) -> None:
        """Allow or forbid nginx to retry slow requests."""
        now = asyncio.get_running_loop().time()
        had = await tries.requests()
        if had is not None:
            self._budget.total(had, now)
        tries.mark(ONCE, not self._budget.allows(now))

    async def _watch_edges(self) -> None:
        """Look up the CDN's addresses apart from the rounds, which a slow DNS must not delay."""
        while True:
            await asyncio.sleep(EDGE_EVERY)
            await self._look_for_edges()

    async def _look_for_edges(self) -> None:
        found = await network.resolve(EDGE, 8080)
        if found is not None:
            self._edges = found

    async def _apply(self) -> None:
        rendered = self._render()
        if rendered in (self._used, self._refused):
            return
        complaint = await self._nginx.use(rendered)
        if complaint:
            self._refused = rendered
            log("refused", complaint=complaint)
            return
        self._used, self._refused = rendered, {}
        await self._nginx.reload()
        self._log_replicas()

    def _render(self) -> dict[str, str]:
        wanted = self._settings
        replicas = render.replicas_conf(wanted.method, self._rotation.serving(), PORT, wanted.max_in_flight)
        return {"replicas.conf": replicas, "trusted.conf": render.trusted_conf(wanted, self._edges)}

    def _log_replicas(self) -> None:
        serving = self._rotation.serving()
        log("replicas", serving=sorted(serving), out=sorted(set(self._rotation.replicas) - set(serving)))


def _first(complaint: str) -> str:
    """Return the line with the error, without nginx's time and process id."""
    lines = [line for line in complaint.splitlines() if "[emerg]" in line] or complaint.splitlines()
    return lines[0].rpartition("[emerg] ")[2]


def main() -> int:
    """Read the settings and run the watcher; return the exit code."""
    try:
        wanted, pair = settings.load()
    except settings.BadSettingError as error:
        print(f"nginx: {error}", file=sys.stderr)
        return 64
    return asyncio.run(Watcher(wanted, pair).run())


if __name__ == "__main__":
    sys.exit(main())
