"""What an answer out of the edge cache costs, against the least that the same server can say, and
the origin.
"""

from __future__ import annotations

from harness.idle import at_rest
from harness.load import Load
from harness.result import BY_HTTP, CPU, RATE, Comparison, with_control
from harness.rounds import Variant, run
from harness.scene import Scene

ABOUT = "Requests a second of the edge cache: a hit, against a bare 200 and against the origin"
SECONDS = 130
CONNECTIONS = 32
PATH = "/api/products/?limit=1"
NAMES = {
    "200": "a 200 that Varnish makes itself",
    "hit": "a hit",
    "origin": "the origin, through nginx and the gateway",
}
# Where each is asked: service, port, path.
TARGETS = {"200": ("cdn", 8081, "/live"), "hit": ("cdn", 8080, PATH), "origin": ("nginx", 8080, PATH)}


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    # No caller is to be refused for asking too often.
    with scene.started(["nginx", "swift", "cdn"], ["load", "nginx", "products", "cdn"], RATE_LIMIT="0") as containers:
        idle = at_rest(one for found in containers.values() for one in found)
        behind = [one for name in ("nginx", "web", "products", "redis-cache") for one in containers[name]]

        def variant(name: str) -> Variant:
            service, port, path = TARGETS[name.removesuffix(" again")]
            target = containers[service][0]
            load = Load(containers["load"][0], target, port, path, CONNECTIONS, 2, idle)
            return Variant(name, lambda: load.run(behind if service == "nginx" else [target]))

        compared = [variant(name) for name in with_control(NAMES)]
        for one in compared:  # warm
            one.measure()
        return [Comparison(NAMES, [RATE, *BY_HTTP[2:], CPU], run(compared, scene.rounds(6)))]
