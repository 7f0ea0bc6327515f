"""What the gateway costs a call of a service, with one caller and with many."""

from __future__ import annotations

from harness.idle import at_rest
from harness.load import Load
from harness.result import BY_HTTP, Comparison, with_control
from harness.rounds import Variant, run
from harness.scene import Scene

ABOUT = "CPU and time of a call of a service: directly, and through the gateway, with 1 and with 50 callers"
SECONDS = 150
PATH = "/api/products/categories"
CALLERS = (1, 50)
NAMES = {"direct": "the service itself", "gateway": "through the gateway"}
TARGETS = {"direct": ("products", 8002), "gateway": ("web", 8000)}


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    settings = {"RATE_LIMIT": "0", "WEB_REPLICAS": "1", "WEB_THREADS": "64"}
    with scene.started(["swift"], ["load", "web", "products"], **settings) as containers:
        watched = [containers["web"][0], containers["products"][0]]
        idle = at_rest(watched)

        def variant(name: str, callers: int) -> Variant:
            service, port = TARGETS[name.removesuffix(" again")]
            load = Load(containers["load"][0], containers[service][0], port, PATH, callers, 2, idle)
            return Variant(name, lambda: load.run(watched))

        found = []
        for callers in CALLERS:
            compared = [variant(name, callers) for name in with_control(NAMES)]
            for one in compared:  # warm
                one.measure()
            found.append(Comparison(NAMES, BY_HTTP, run(compared, scene.rounds(7)), f"Callers: {callers}"))
        return found
