"""nginx as a child process."""

import asyncio
import contextlib
import signal
from pathlib import Path

RUN = Path("/run/lb")
CHECK_SECONDS = 10
CLOSING_SECONDS = 1.0  # how long clients are asked to close their connections before a reload
RELOAD_SECONDS = 5.0  # until the old workers must have stopped accepting


def accepting() -> set[int]:
    """The workers that accept connections; nginx puts the state of a process into its title."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            title = (process / "cmdline").read_bytes()
            if title.startswith(b"nginx: worker process") and b"shutting down" not in title:
                found.add(int(process.name))
    return found


class Nginx:
    """The rendered files and the process that reads them."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    def write(self, name: str, text: str) -> None:
        """Put a rendered file in place."""
        (RUN / name).write_text(text)

    async def use(self, name: str, text: str) -> str:
        """Put a rendered file in place if nginx accepts it; returns nginx's complaint, empty when it accepts.

        A refused file is replaced by the one before. The running nginx does not look until `reload`.
        """
        path = RUN / name
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        complaint = await self.check()
        if complaint and before is not None:
            path.write_text(before)
        return complaint

    async def check(self) -> str:
        """Run `nginx -t`; returns what it says if it fails."""
        process = await asyncio.create_subprocess_exec(
            "nginx", "-t", "-q", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"nginx -t did not end within {CHECK_SECONDS} s"
        return "" if process.returncode == 0 else output.decode(errors="replace").strip() or "nginx -t failed"

    async def start(self) -> None:
        """Start nginx in the foreground."""
        self._process = await asyncio.create_subprocess_exec("nginx", "-g", "daemon off;")

    async def reload(self) -> None:
        """Start new workers with the files as they are; the old ones finish their requests.

        Until then nginx.conf lets every answer close its connection, so that the old workers have next to
        none that is idle when they go.
        """
        closing = RUN / "closing"
        closing.touch()
        await asyncio.sleep(CLOSING_SECONDS)
        old = accepting()
        self._signal(signal.SIGHUP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELOAD_SECONDS):
                while old & accepting():
                    await asyncio.sleep(0.05)
        closing.unlink(missing_ok=True)

    def quit(self) -> None:
        """Take no more connections and end when the requests in flight are answered."""
        self._signal(signal.SIGQUIT)

    async def wait(self) -> int:
        """Wait until nginx has ended; returns its exit code."""
        return await self._process.wait() if self._process else 0

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)
