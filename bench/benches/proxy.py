"""What a load balancer in front of a replica costs, with and without connections kept to it."""

from __future__ import annotations

from harness.idle import at_rest
from harness.load import Load
from harness.result import BY_HTTP, Comparison, with_control
from harness.rounds import Variant, run
from harness.scene import Scene, changed_copy

ABOUT = "CPU a request and requests a second: a replica directly, and through each load balancer"
SECONDS = 225
CONNECTIONS = 16
PATH = "/health/live"
BALANCERS = {
    "nginx": "nginx",
    "nginx-close": "nginx, keepalive off",
    "haproxy": "HAProxy",
    "haproxy-close": "HAProxy, keepalive off",
}
NAMES = {"direct": "direct", **BALANCERS, "page": "direct, a real page"}
# File, and what is said there in place of what, to close each connection to the replica after its
# answer.
CHANGES = (
    ("nginx/forward.conf", 'proxy_set_header Connection "";', "proxy_set_header Connection close;"),
    ("haproxy/haproxy.cfg", "\ndefaults\n", "\ndefaults\n    option http-server-close\n"),
)


def measure(scene: Scene) -> list[Comparison]:
    """Run the bench."""
    for source, old, new in CHANGES:
        changed_copy(scene, source, old, new)
    with scene.started(
        ["nginx", "haproxy"], ["load", "web", *BALANCERS], "bench/compose.proxy.yaml", WEB_REPLICAS="1"
    ) as started:
        containers = {service: found[0] for service, found in started.items()}
        web = containers["web"]
        idle = at_rest(containers[name] for name in ("web", *BALANCERS))

        def variant(name: str) -> Variant:
            target, port = (containers[name], 8080) if name in BALANCERS else (web, 8000)
            path = "/" if name == "page" else PATH
            load = Load(containers["load"], target, port, path, CONNECTIONS, 1, idle)
            return Variant(name, lambda: load.run([web] if target is web else [web, target]))

        compared = [variant(name) for name in with_control(NAMES)]
        for one in compared:  # warm
            one.measure()
        return [Comparison(NAMES, BY_HTTP, run(compared, scene.rounds(7)))]
