"""Print the CPU time of a signed call between services: by the client alone, by the session of
requests over it, and by requests with its own adapter.

scripts/tools.sh scripts/with-servers.sh env PYTHONPATH=app:app/tests
DJANGO_SETTINGS_MODULE=config.test_settings python app/shop/services/tests/cost.py
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

import django
import requests
from scaleout import replication
from scaleout.gateway import Policy, Request, Service
from scaleout.gateway.tests.upstream import Upstream, say
from scaleout.identity import tokens
from scaleout.observability import trace

from shop.services import calls

CALLS, ROUNDS = 300, 15
PATH = "/api/orders/?user_id=7&limit=20"
BODY = json.dumps({"items": [{"id": number, "name": "Tent"} for number in range(20)]}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def serve(pipe: Connection) -> None:
    """Answer every request until the parent has gone."""
    pipe.send(Upstream(say(ANSWER)).port)
    pipe.poll(None)


def alone(service: Service) -> None:
    """Call by the client."""
    headers = {"Host": "orders", "Authorization": f"Bearer {tokens.for_service('orders')}"}
    headers |= {**replication.headers(), **trace.headers()}
    until = time.monotonic() + 1
    json.loads(service.call(Request.get(PATH, list(headers.items())), until).read(until, 1_048_576))


def by_requests(session: requests.Session, url: str) -> None:
    """Call by a session."""
    session.get(f"{url}{PATH}", timeout=1).json()


def cpu(call: Callable[[], object]) -> float:
    """Return the microseconds of CPU time of a call."""
    started = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - started) / CALLS * 1e6


def main() -> None:
    """Measure in turn, and print the medians."""
    mine, theirs = multiprocessing.Pipe()
    multiprocessing.Process(target=serve, args=(theirs,), daemon=True).start()
    url = f"http://127.0.0.1:{mine.recv()}"
    plain = requests.Session()
    plain.trust_env, plain.auth = False, calls.OnBehalf()
    ways: dict[str, Callable[[], object]] = {
        "the client": partial(alone, Service.at("orders", url, Policy())),
        "the session over it": partial(by_requests, calls._session((("orders", url),)), "http://orders"),
        "requests with its own adapter": partial(by_requests, plain, url),
        "a token": partial(tokens.for_service, "orders"),  # what each of them signs
    }
    rounds = [{name: cpu(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in ways}
    for name, median in medians.items():
        print(f"{name}: {median:.0f} µs, {median / medians['the client']:.2f}x")


if __name__ == "__main__":
    django.setup()
    main()
