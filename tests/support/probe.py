"""A container in the networks of web: it reaches what an intruder in a replica of web could."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import TimeoutError as NoAnswer

from redis import Connection, RedisError
from support.settings import TIME_FACTOR, secret
from support.stack import Stack, run

PSQL = ("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1")
END = "\a"  # replaces line ends within an answer; no answer contains it


@dataclass(frozen=True)
class Probe:
    """An idle container of the tools image in `app` and `front`, the networks of web."""

    id: str
    project: str

    @classmethod
    def start(cls, stack: Stack) -> Probe:
        """Start it. It ends by itself after two hours."""
        image = os.environ.get("TOOLS_IMAGE", f"{stack.project}-tools")
        output = run(
            "docker", "run", "--rm", "--detach", "--init", "--network", f"{stack.project}_app",
            "--label", "scale-out.tests=probe", image, "sleep", "7200",
        )  # fmt: skip
        probe = cls(output.split()[-1], stack.project)
        run("docker", "network", "connect", f"{stack.project}_front", probe.id)
        return probe

    def stop(self) -> None:
        """Remove it."""
        run("docker", "kill", self.id, check=False)

    def run(
        self,
        *command: str,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> str:
        """Run `command` in it and return its output."""
        settings = [word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")]
        return run("docker", "exec", "-i", *settings, self.id, *command, check=check, text=text)

    def curl(self, url: str, *options: str, check: bool = True) -> str:
        """Return the body at `url`; without `check` without curl's messages, whose order varies."""
        messages = ("--show-error",) if check else ()
        return self.run("curl", "--silent", *messages, "--max-time", "10", *options, url, check=check)

    def sql(self, host: str, database: str, role: str, query: str, *, check: bool = True, password: str = "") -> str:
        """Run `query` as `role` with its secret and return the rows, columns separated by `|`."""
        environment = {"PGPASSWORD": password or secret(f"db_{role}")}
        command = (*PSQL, _target(host, database, role), "--command", query)
        return self.run(*command, check=check, environment=environment).strip()

    def sql_each(self, questions: Sequence[tuple[str, str, str, str]], *, password: str = "") -> list[str]:
        """Return the answer or error for each `(host, database, role, query)`, in one run."""
        lines = [
            "\t".join((password or secret(f"db_{role}"), _target(host, database, role), query))
            for host, database, role, query in questions
        ]
        script = "while IFS=$'\\t' read -r word target query; do " + _one_line(
            f'PGPASSWORD=$word {" ".join(PSQL)} "$target" --command "$query" </dev/null'
        )
        return self._lines(script, lines)

    def redis(self, host: str, *command: str) -> str:
        """Run a Redis command as the operator, in the container of `host`; "" if Redis hangs."""
        return run("docker", "exec", self._server(host), *_OPERATOR, *command, check=False).strip()

    def redis_each(self, host: str, commands: Sequence[str]) -> list[str]:
        """Return the operator's reply to each of `commands` (words and blanks)."""
        word = run("docker", "exec", self._server(host), "cat", "/tmp/operator")  # noqa: S108 - in the container
        address = self._address(host)
        return [_reply(address, "operator", word.strip(), one) for one in commands]

    def redis_as(self, user: str, host: str, commands: Sequence[str], *, password: str | None = None) -> list[str]:
        """Return the reply to each of `commands`, each over a new connection.

        Blanks separate the words of a command. `user` is one of the Redis at `host`; the password
        is that of its secret, unless `password` is given. An error is named by its class in
        redis.exceptions; without a reply in time it is "".
        """
        word = secret(f"{host.replace('-', '_')}_{user}") if password is None else password
        address = self._address(host)
        return [_reply(address, user, word, one) for one in commands]

    def _lines(self, script: str, lines: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
        answers = _answers(self.run("bash", "-c", script, environment=environment, text=_text(lines)))
        assert len(answers) == len(lines), answers
        return answers

    def _address(self, host: str) -> str:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return run("docker", "inspect", "--format", template, self._server(host)).split()[0]

    def _server(self, host: str) -> str:
        label = "label=com.docker.compose"
        own = ("--filter", f"{label}.project={self.project}", "--filter", f"{label}.service={host}")
        return run("docker", "ps", "--quiet", *own).strip()


_OPERATOR = ("timeout", "2", "operator")
PATIENCE = 5.0 * TIME_FACTOR  # seconds for one reply of Redis


def _reply(host: str, user: str, password: str, command: str) -> str:
    # Not Redis(), which asks again after a time-out and changes some replies.
    connection: Any = Connection(  # type: ignore[no-untyped-call]  # redis-py gives it no types
        host=host,
        username=user,
        password=password,
        decode_responses=True,
        socket_connect_timeout=PATIENCE,
        socket_timeout=PATIENCE,
    )
    try:
        connection.connect()
        connection.send_command(*command.split())
        return str(connection.read_response())
    except NoAnswer:
        return ""
    except RedisError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.disconnect()


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _answers(output: str) -> list[str]:
    return [answer.replace(END, "\n").strip() for answer in output.splitlines()]


def _target(host: str, database: str, role: str) -> str:
    return f"host={host} dbname={database} user={role} connect_timeout=5 sslmode=prefer"


def _one_line(command: str) -> str:
    return f"{command} 2>&1 | tr '\\n' '{END}'; echo; done"
