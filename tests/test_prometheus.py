"""Metrics: Prometheus scrapes every replica, and the counts are correct."""

from __future__ import annotations

import re
from collections import Counter

import requests
from support.client import Site
from support.load import at_once
from support.probe import Probe
from support.prometheus import PATIENCE, Prometheus, samples
from support.settings import MAIN_NODES, REPLICAS, SHARD_NODES
from support.stack import Stack
from support.wait import eventually

REQUESTS = "django_http_requests_total_by_view_transport_method_total"


def up(prometheus: Prometheus) -> Counter[tuple[str, str]]:
    """Return how many targets of each job are up or down."""
    return Counter((target["labels"]["job"], target["health"]) for target in prometheus.targets())


def test_every_target_is_up(prometheus: Prometheus) -> None:
    eventually(
        "no target that is down",
        lambda: {one["scrapeUrl"]: one["lastError"] for one in prometheus.targets() if one["health"] != "up"},
        lambda seen: not seen,
        within=60,
    )


def test_each_replica_of_everything_is_scraped(prometheus: Prometheus, stack: Stack) -> None:
    nodes = len(MAIN_NODES) + len(SHARD_NODES)
    wanted = {
        "web": REPLICAS,
        "users": 1,
        "products": 1,
        "orders": 1,
        "workers": sum(name.endswith("worker") for name in stack.config["services"]),
        "patroni": nodes,
        "etcd": 1,
        "redis": 2,
        stack.load_balancer: 1,
        "prometheus": 1,
    }

    def missing() -> dict[str, tuple[int, int]]:
        seen = up(prometheus)
        return {job: (count, seen[job, "up"]) for job, count in wanted.items() if seen[job, "up"] != count}

    eventually("these targets up (wanted, seen)", missing, lambda seen: not seen, within=60)


def counted(stack: Stack, probe: Probe) -> Counter[str]:
    """Return the requests by view, summed over the replicas' own metrics."""
    total: Counter[str] = Counter()
    for replica in stack.containers("web"):
        text = probe.curl(f"http://{replica.address('app')}:8000/metrics")
        for labels, value in samples(text, REQUESTS):
            total[labels["view"]] += int(value)
    return total


def test_each_request_is_counted_exactly_once(stack: Stack, probe: Probe, prometheus: Prometheus, product: int) -> None:
    """At the replicas: the load balancer asks another one when a GET is slow, and both count it."""
    requests = 300
    replicas = [Site(8000, host=one.address("app")) for one in stack.containers("web")]
    before = counted(stack, probe)
    answers = at_once(requests, 12, lambda number: replicas[number % REPLICAS].get(f"/products/{product}/"))
    assert {answer.status_code for answer in answers} == {200}
    after = counted(stack, probe)
    grown = {view: count - before[view] for view, count in after.items() if count != before[view]}
    view = next(name for name, count in grown.items() if "product" in name)
    assert grown[view] == requests, grown
    eventually(
        f"Prometheus to count {after[view]} requests of {view}",
        lambda: prometheus.value(f'sum({REQUESTS}{{view="{view}"}})'),
        lambda seen: seen == after[view],
        within=40,
    )


def test_asking_again_does_not_change_what_was_counted(stack: Stack, probe: Probe, product: int) -> None:
    Site(8000, host=stack.container("web").address("app")).get(f"/products/{product}/")
    first = counted(stack, probe)
    for _ in range(2):
        again = counted(stack, probe)
        assert {v: n for v, n in again.items() if "product" in v} == {v: n for v, n in first.items() if "product" in v}


def test_the_files_of_the_counters_do_not_grow_with_the_requests(stack: Stack) -> None:
    for replica in stack.containers("web"):
        files = stack.run_in(replica, "sh", "-c", "find /run/app /tmp -name '*.db' | wc -l")
        assert 0 < int(files) <= 40, f"{replica.name}: {files}"


def test_the_load_balancer_and_the_database_are_seen(prometheus: Prometheus, stack: Stack) -> None:
    front = {"nginx": "nginx_up", "haproxy": "haproxy_process_uptime_seconds"}[stack.load_balancer]
    for query in (front, "redis_up", 'patroni_primary{scope="main"} == 1', "etcd_server_has_leader"):
        eventually(query, lambda query=query: prometheus.value(f"count({query})"), bool, within=60)  # type: ignore[misc]
    eventually(
        "one primary", lambda: prometheus.value('sum(patroni_primary{scope="main"})'), lambda n: n == 1, within=60
    )


def test_the_page_of_graphs_is_served_and_each_query_of_it_has_an_answer(prometheus: Prometheus, site: Site) -> None:
    page = requests.get(f"{prometheus.url}/consoles/stack.html", timeout=PATIENCE)
    assert page.status_code == 200
    queries = re.findall(r"'((?:sum|max|histogram_quantile)[^']+)'", page.text)
    assert len(queries) >= 10
    site.get("/search/?q=tent")  # so that each has something to count

    def unanswered() -> list[str]:
        return [query for query in queries if not prometheus.value(f"count({query})")]

    eventually("an answer to each query", unanswered, lambda seen: not seen, within=30)
    for script in re.findall(r'(?:src|href)="(/classic/static/[^"]+)"', page.text):
        assert requests.get(f"{prometheus.url}{script}", timeout=PATIENCE).status_code == 200, script
