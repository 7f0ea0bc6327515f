"""Starts nginx, keeps its upstream in step with the replicas, ends with it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime

from watcher import network, render, settings
from watcher.nginx import Nginx
from watcher.rotation import Rotation

PORT = 8000
EVERY = 0.5  # seconds from the start of one round of probes to the next
PAUSE = 0.1  # and at least this much between two rounds


def log(event: str, **fields: object) -> None:
    """Write one JSON line, at once: nginx writes to the same stream."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | fields
    sys.stdout.write(json.dumps(line) + "\n")


class Watcher:
    """The loop: resolve, probe, render, and reload on a change only."""

    def __init__(self, wanted: settings.Settings) -> None:
        self._settings = wanted
        self._rotation = Rotation()
        self._nginx = Nginx()
        self._used = ""  # the upstream that nginx was told to use
        self._refused = ""  # and the last that it refused, so that the log says it once
        self._renew = False  # a reload is asked for, such as for a new certificate

    async def run(self) -> int:
        """Run until nginx ends; returns the exit code."""
        complaint = await self._prepare()
        if complaint:
            log("refused", complaint=complaint)
            return 1
        await self._nginx.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, setattr, self, "_renew", True)

        ended = asyncio.create_task(self._nginx.wait())
        told = asyncio.create_task(stop.wait())
        watch = asyncio.create_task(self._watch())
        await asyncio.wait((ended, told, watch), return_when=asyncio.FIRST_COMPLETED)
        expected = told.done() and not ended.done()
        watch.cancel()
        self._nginx.quit()
        code = await ended
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        log("ended", code=code, expected=expected)
        return 0 if expected and code == 0 else 1

    async def _prepare(self) -> str:
        """Render both files and have them checked; returns nginx's complaint."""
        self._nginx.write("settings.conf", render.settings_conf(self._settings))
        await self._look()
        self._used = self._render()
        self._log_replicas()
        return await self._nginx.use("replicas.conf", self._used)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await self._look()
            await self._apply()
            await asyncio.sleep(max(PAUSE, begun + EVERY - loop.time()))

    async def _look(self) -> None:
        """One round: every name, then every replica, each in parallel."""
        weights = self._settings.upstreams
        answers = await asyncio.gather(*(network.resolve(service, PORT) for service in weights))
        self._rotation.resolved(dict(zip(weights, answers, strict=True)), weights)
        addresses = list(self._rotation.replicas)
        probes = await asyncio.gather(*(network.probe(address, PORT) for address in addresses))
        for address, probe in zip(addresses, probes, strict=True):
            self._rotation.probed(address, probe)

    async def _apply(self) -> None:
        upstream = self._render()
        if upstream in (self._used, self._refused) and not self._renew:
            return
        self._renew = False
        complaint = await self._nginx.use("replicas.conf", upstream)
        if complaint:
            self._refused = upstream
            log("refused", complaint=complaint)
            return
        self._used, self._refused = upstream, ""
        await self._nginx.reload()
        self._log_replicas()

    def _render(self) -> str:
        return render.replicas_conf(self._settings.method, self._rotation.serving(), PORT)

    def _log_replicas(self) -> None:
        serving = self._rotation.serving()
        log("replicas", serving=sorted(serving), out=sorted(set(self._rotation.replicas) - set(serving)))


def main() -> int:
    """Read the environment and run."""
    try:
        wanted = settings.read(os.environ)
    except settings.BadSettingError as error:
        print(f"nginx: {error}", file=sys.stderr)
        return 64
    return asyncio.run(Watcher(wanted).run())


if __name__ == "__main__":
    sys.exit(main())
