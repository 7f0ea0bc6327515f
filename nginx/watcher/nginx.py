"""The nginx child process and its rendered files."""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path

RUN = Path("/run/lb")
CHECK_SECONDS = 10
CLOSING_SECONDS = 1.0  # before a reload: answers close their connections
RELOAD_SECONDS = 5.0  # deadline for the old workers to stop accepting


def accepting() -> set[int]:
    """Return the workers that accept connections, by the titles that nginx gives its processes."""
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

    async def use(self, files: Mapping[str, str]) -> str:
        """Install rendered files if nginx accepts them; return nginx's complaint, or "".

        After a rejection the previous files are restored. nginx reads the files at `reload`.
        """
        before = {name: (RUN / name).read_text() for name in files if (RUN / name).exists()}
        self._write(files)
        complaint = await self.check()
        if complaint:
            self._write(before)
        return complaint

    def _write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (RUN / name).touch(mode=0o600)  # one file is the private key
            (RUN / name).write_text(text)

    async def check(self) -> str:
        """Run `nginx -t`; return its output if it fails."""
        process = await asyncio.create_subprocess_exec(
            "nginx", "-t", "-q", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"nginx -t timed out after {CHECK_SECONDS} s"
        return "" if process.returncode == 0 else output.decode(errors="replace").strip() or "nginx -t failed"

    async def start(self) -> None:
        """Start nginx in the foreground."""
        self._process = await asyncio.create_subprocess_exec("nginx", "-g", "daemon off;")

    async def reload(self) -> bool:
        """Start new workers with the current files; old ones finish their requests.

        Return False if the old workers still accept connections at the deadline. Before the reload
        each answer closes its connection, so that the old workers have almost no idle connections.
        """
        closing = RUN / "closing"
        closing.touch()
        await asyncio.sleep(CLOSING_SECONDS)
        old = accepting()
        self._signal(signal.SIGHUP)
        try:
            async with asyncio.timeout(RELOAD_SECONDS):
                while old & accepting():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        finally:
            closing.unlink(missing_ok=True)
        return True

    def quit(self) -> None:
        """Stop accepting, finish the requests in flight, and exit."""
        self._signal(signal.SIGQUIT)

    async def wait(self) -> int:
        """Wait until nginx exits; return its exit code."""
        return await self._process.wait() if self._process else 0

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)
