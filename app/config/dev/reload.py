"""Run the service that SERVICE names, and start it again when the code changes: `python -m
config.dev.reload`.

It is forked from this process, which has the libraries in memory: to import them is most of a
start. This process also holds the port, so a request in between waits and is not refused.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from config.dev import tree

LOOK = 0.25  # seconds between two looks at the files
SAVED = 0.05  # seconds that they must be the same, so that no half of a change is loaded
LATER = 1.5  # the same for a process without waiting requests: the others get the processors first
STEADY = 5.0  # a process that ended after so many seconds starts again without a change
RUN = Path("/run/app")
LOADED = RUN / "loaded"  # lists the files of this project that the server has loaded
# Slow imports that read none of this project's settings. Add your own.
LIBRARIES = (
    "argon2", "boto3", "botocore.client", "cachebox", "celery.app.base", "celery.app.task", "celery.apps.beat",
    "celery.apps.worker", "celery.bin.celery", "cryptography.x509", "django.contrib.postgres.fields",
    "django.core.handlers.wsgi", "django.core.management", "django.db.backends.postgresql.base", "django.db.models",
    "django.template.defaulttags", "django.test.testcases", "gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "jwt",
    "kombu.transport.redis", "PIL.Image", "prometheus_client", "psycopg.types.hstore", "psycopg_pool",
    "pydantic.functional_validators", "pydantic.main", "pydantic.types", "redis.asyncio", "requests", "structlog",
    "urllib3", "whitenoise.middleware",
)  # fmt: skip


def serve(listener: socket.socket) -> None:
    """Run the server of this service; or answer each request with the reason why the code does not
    load.
    """
    LOADED.unlink(missing_ok=True)
    try:
        import_module("config.wsgi")
    except BaseException:  # also SystemExit, which a bad setting raises
        show(listener, traceback.format_exc())
    files = (getattr(module, "__file__", None) or "" for module in tuple(sys.modules.values()))
    LOADED.write_text("\n".join(files))
    logging.getLogger("django.db.backends").setLevel("DEBUG")  # SQL, of requests only
    options = ["--config", "/app/config/gunicorn.conf.py", "--bind", f"fd://{listener.fileno()}"]
    sys.argv = ["gunicorn", *options, "config.wsgi"]
    import_module("gunicorn.app.wsgiapp").run()


def work(*command: str) -> None:
    """Be a worker, or beat."""
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat") if command[0] == "worker" else ()
    sys.argv = ["celery", "--quiet", "--app", "config.celery", *command, *alone, "--loglevel", "WARNING"]
    import_module("celery.__main__").main()


def show(listener: socket.socket, text: str) -> NoReturn:
    """Log `text`, and answer each request with it."""
    print(text, file=sys.stderr, flush=True)
    body = text.encode()
    head = (
        "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
    )
    answer = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    listener.setblocking(True)
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.settimeout(1.0)
            connection.recv(65536)
            connection.sendall(answer)


def fork(run: Callable[[], object]) -> int:
    """Run `run` in a process that leads a group of its own; return its id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def end(pid: int, patience: float) -> None:
    """End a process and its group: with SIGTERM and `patience` seconds, then with SIGKILL."""
    until = time.monotonic() + patience
    with suppress(ProcessLookupError, ChildProcessError):
        if patience:
            os.kill(pid, signal.SIGTERM)
        while time.monotonic() < until and not os.waitpid(pid, os.WNOHANG)[0]:
            time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def wait(pid: int, seen: tree.Stamps, settle: Callable[[tree.Stamps, tree.Stamps], float]) -> None:
    """Return when the code differs from `seen` and has been stable for as long as `settle` says.

    Also return when a process that was up for STEADY seconds has ended. One that ended at once
    would do so again.
    """
    started, running = time.monotonic(), True
    while (now := tree.code()) == seen:
        time.sleep(LOOK)
        if running and os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() - started > STEADY:
                return
            running = False
            print("ended: waiting for a change of a file", file=sys.stderr, flush=True)
    while True:
        time.sleep(settle(seen, now))
        before, now = now, tree.code()
        if before == now:
            return


def urgency(seen: tree.Stamps, now: tree.Stamps) -> float:
    """Return how long a change may wait: 0 if the server has loaded a file of it, or could load
    nothing.
    """
    changed = {path for path, _ in seen.items() ^ now.items()}
    try:
        loaded = set(LOADED.read_text().splitlines())
    except OSError:
        return SAVED
    return SAVED if changed & loaded else LATER


def load_libraries() -> None:
    """Import the libraries, without the settings' name: a library that needs it would load this
    project.
    """
    settings = os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    for name in LIBRARIES:
        with suppress(Exception):  # then the service imports it later
            import_module(name)
    if settings is not None:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings


def command(service: str) -> list[str]:
    """Return what the service is: `web` and its port, or what Celery is to be.

    The registry is run, not imported: what this process imports, the forked one would not load
    again.
    """
    registry = runpy.run_path(str(Path(__file__).parents[2] / "shop" / "services" / "registry.py"))
    if service in registry["PORTS"]:
        return ["web", str(registry["PORTS"][service])]
    if service == "beat":
        return ["celery", "beat"]
    owner = "shop" if service == "worker" else service.removesuffix("-worker")
    return ["celery", "worker", "-c", "1", "-Q", ",".join(f"{owner}.{kind}" for kind in registry["KINDS"])]


def main(command: list[str]) -> NoReturn:
    """Run the service, again and again."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(RUN / "metrics")
    (RUN / "metrics").mkdir(exist_ok=True)
    run: Callable[[], None]
    settle: Callable[[tree.Stamps, tree.Stamps], float]
    if command[0] == "web":
        listener = socket.create_server(("0.0.0.0", int(command[1])), backlog=2048)  # noqa: S104 - of the container
        # Requests in flight are lost: after saving a file a person wants the new answer.
        run, settle, patience = partial(serve, listener), urgency, 0.0
    else:
        run, settle, patience = partial(work, *command[1:]), lambda *_: LATER, 5.0  # a running task may end
    load_libraries()
    pid = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            seen = tree.code()
            pid = fork(run)
            wait(pid, seen, settle)
            print("reloading", file=sys.stderr, flush=True)
            end(pid, patience)
    finally:
        if pid:
            end(pid, patience)


if __name__ == "__main__":
    main(command(os.environ["SERVICE"]))
