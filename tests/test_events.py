"""Events between the services: each has its effect once, also if a process is killed."""

from __future__ import annotations

import itertools
import operator
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
from support.load import at_once
from support.probe import Probe
from support.prometheus import Prometheus, samples
from support.services import Person, Services, place, place_in_the_end
from support.settings import TIME_FACTOR
from support.sql import Connection, connect, shard_hosts
from support.stack import Stack
from support.wait import eventually

type Make = Callable[[], Person]
type Stock = Callable[[int], int]

MOST = 160  # orders of one person: they are counted on one page
BACK = 120  # seconds from the broker's recovery until each order has its effects
PARK = (
    "INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, due_at, parked_at, error)"
    " VALUES (gen_random_uuid(), 'product_changed', %s, 'orders.tasks.handle_product_event',"
    " jsonb_build_object('product_id', %s::bigint, 'name', 'parked'), now(), now(), 'ValueError: tests')"
    " RETURNING event_id"
)
OUTBOXES = [
    ("main", "shop", "shop"),
    *(
        (host, f"{context}_shard_{number}", context)
        for context in ("users", "orders")
        for number, host in shard_hosts().items()
    ),
]


@pytest.fixture
def stocked(services: Services, staff: Person, outboxes: list[Connection]) -> Iterator[Stock]:
    """A function that adds a product with this stock and returns its id; it is deleted at the end.

    It first waits for an empty queue, since the deadlines of the tests assume one.
    """
    made: list[int] = []
    eventually("nothing to be left of earlier tests", lambda: left(outboxes), lambda seen: seen == 0, within=BACK)

    def make(stock: int) -> int:
        sku = f"TESTS-{secrets.token_hex(6)}"
        body = {"sku": sku, "name": sku, "category": _category(services), "price": {"amount": 100}, "stock": stock}
        answer = services.products.post("/api/products/", json=body, headers=staff.headers)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
        return made[-1]

    yield make
    for one in made:
        services.products.request("DELETE", f"/api/products/{one}", headers=staff.headers)


def _category(services: Services) -> str:
    return str(services.products.get("/api/products/categories").json()["items"][0]["slug"])


def product_of(services: Services, product_id: int) -> tuple[int, int]:
    """Return the stock and the number sold."""
    found = services.products.get(f"/api/products/{product_id}").json()
    return found["stock"], found["sold"]


def orders_of(services: Services, who: Person) -> list[dict[str, Any]]:
    return list(services.orders.get("/api/orders/?limit=200", headers=who.headers).json()["items"])


def statuses(services: Services, *people: Person) -> Counter[str]:
    return Counter(order["status"] for who in people for order in orders_of(services, who))


@pytest.fixture
def outboxes(stack: Stack) -> Iterator[list[Connection]]:
    """A connection to each database that has an outbox."""
    found = [connect(stack, host, name, f"{context}_app") for host, name, context in OUTBOXES]
    yield found
    for one in found:
        one.close()


class Shop(NamedTuple):
    """The fixtures of these tests in one object."""

    services: Services
    person: Make
    stocked: Stock
    outboxes: list[Connection]


@pytest.fixture
def shop(services: Services, person: Make, stocked: Stock, outboxes: list[Connection]) -> Shop:
    return Shop(services, person, stocked, outboxes)


def left(outboxes: list[Connection]) -> int:
    return sum(row[0] for one in outboxes for row in one.execute("SELECT count(*) FROM events_outbox"))


# ── the flows ─────────────────────────────────────────────────────────────────────────────────────
def test_an_order_is_confirmed_and_the_stock_is_less(services: Services, person: Make, stocked: Stock) -> None:
    who, product = person(), stocked(10)
    answer = place(services, who, "one", [{"product_id": product, "quantity": 3}])
    assert (answer.status_code, answer.json()["status"]) == (201, "placed")
    eventually(
        "the order to be confirmed",
        lambda: statuses(services, who),
        lambda seen: seen == {"confirmed": 1},
        within=10,
    )
    eventually(
        "the catalogue to say so, though it is cached",
        lambda: {product_of(services, product) for _ in range(6)},
        lambda seen: seen == {(7, 3)},
        within=5,
    )


def test_of_a_hundred_orders_for_ten_pieces_ten_are_confirmed(services: Services, person: Make, stocked: Stock) -> None:
    # A client may log in a hundred times in a minute: so of twenty people each orders five times.
    people, product = [person() for _ in range(20)], stocked(10)
    items = [{"product_id": product, "quantity": 1}]

    def order(number: int) -> int:  # 200: made by a try whose answer was lost
        return place_in_the_end(services, people[number % 20], str(number), items)

    assert set(at_once(100, 100, order)) <= {200, 201}
    eventually(
        "ten to be confirmed and ninety rejected",
        lambda: statuses(services, *people),
        lambda seen: seen == {"confirmed": 10, "rejected": 90},
        within=60,
    )
    eventually("the stock to be gone", lambda: product_of(services, product), lambda seen: seen == (0, 10), within=5)


def test_the_orders_of_a_deleted_user_are_archived(
    services: Services, person: Make, staff: Person, stocked: Stock
) -> None:
    who, product = person(), stocked(10)
    for key in ("one", "two"):
        assert place(services, who, key, [{"product_id": product, "quantity": 1}]).status_code == 201
    assert services.users.request("DELETE", f"/api/users/{who.id}", headers=who.headers).status_code == 204
    eventually(
        "both orders to be archived",
        lambda: services.orders.get(f"/api/orders/?user_id={who.id}", headers=staff.headers).json()["items"],
        lambda seen: [one["archived"] for one in seen] == [True, True],
        within=10,
    )


def test_orders_show_the_new_name_of_a_renamed_product(
    services: Services, person: Make, staff: Person, stocked: Stock
) -> None:
    who, product = person(), stocked(10)
    order = place(services, who, "one", [{"product_id": product, "quantity": 1}]).json()
    name = f"Renamed {secrets.token_hex(4)}"
    answer = services.products.request("PATCH", f"/api/products/{product}", json={"name": name}, headers=staff.headers)
    assert answer.status_code == 200
    eventually(
        "the order to show the new name",
        lambda: services.orders.get(f"/api/orders/{order['id']}", headers=who.headers).json()["products"],
        lambda seen: seen == [{"id": product, "name": name}],
        within=10,
    )


def test_an_event_that_is_delivered_ten_times_has_one_effect(
    stack: Stack, shop: Shop, probe: Probe, prometheus: Prometheus
) -> None:
    services, person, stocked, outboxes = shop
    who, product = person(), stocked(10)
    dropped = 'sum(events_duplicates_total{event="order_placed"})'
    before = prometheus.value(dropped)
    # The messages of the worker's queue are duplicated ten times.
    script = (
        "local m = redis.call('LRANGE', KEYS[1], 0, -1) for i = 1, 9 do for _, one in ipairs(m) do"
        " redis.call('LPUSH', KEYS[1], one) end end return #m"
    )
    stack.pause("worker")
    try:
        for key in ("one", "two", "three"):  # the worker may have asked for the first before it was paused
            assert place(services, who, key, [{"product_id": product, "quantity": 1}]).status_code == 201
        eventually(
            "two messages in the queue",
            lambda: int(probe.redis("redis-queue", "LLEN", "shop.events")),
            lambda length: length >= 2,
            within=15,
        )
        assert int(probe.redis("redis-queue", "EVAL", script, "1", "shop.events")) >= 2
    finally:
        stack.start("worker")
    eventually(
        "all three to be confirmed",
        lambda: statuses(services, who),
        lambda seen: seen == {"confirmed": 3},
        within=30,
    )
    eventually("nothing to be left", lambda: left(outboxes), lambda seen: seen == 0, within=60)
    eventually(
        "nine more of each to be counted as dropped",
        lambda: prometheus.value(dropped) - before,
        lambda seen: seen >= 18,
        within=30,
        interval=1,
    )
    # Now that each has been received; the catalogue is cached.
    eventually("each to have taken one", lambda: product_of(services, product), lambda seen: seen == (7, 3), within=5)


def test_a_parked_event_is_listed_and_can_be_sent_again(stack: Stack, shop: Shop, prometheus: Prometheus) -> None:
    who, product = shop.person(), shop.stocked(10)
    order = place(shop.services, who, "one", [{"product_id": product, "quantity": 1}]).json()
    row = shop.outboxes[0].execute(PARK, [f"product:{product}", product]).fetchone()
    assert row is not None
    event_id = str(row[0])

    def manage(*arguments: str) -> str:
        return stack.run_in("products", "python", "manage.py", "events", *arguments)

    said = manage("parked")
    assert re.search(rf"{event_id} product_changed of product:{product} for .* in default, .*: ValueError: tests", said)
    parked = 'max(events_parked{outbox="shop"})'
    eventually("Prometheus to say so", lambda: prometheus.value(parked), lambda seen: seen >= 1, within=20)
    assert "resend: 1" in manage("resend", event_id)
    assert event_id not in manage("parked")
    eventually(
        "its effect",
        lambda: shop.services.orders.get(f"/api/orders/{order['id']}", headers=who.headers).json()["products"],
        lambda seen: seen == [{"id": product, "name": "parked"}],
        within=20,
    )


def test_the_metrics_of_the_workers_count_the_events(
    stack: Stack, shop: Shop, probe: Probe, prometheus: Prometheus
) -> None:
    def received() -> float:
        """Return the worker's count of received `order_placed` events."""
        text = probe.curl(f"http://{stack.container('worker').address('app')}:8010/metrics")
        wanted = {"event": "order_placed", "outcome": "received"}
        found = [value for labels, value in samples(text, "events_received_total") if labels.items() >= wanted.items()]
        return sum(found)

    who, product = shop.person(), shop.stocked(10)
    before = received()
    assert place(shop.services, who, "one", [{"product_id": product, "quantity": 1}]).status_code == 201
    eventually("one more order in the metrics", received, lambda seen: seen >= before + 1, within=10)
    query = 'sum(events_received_total{event="order_placed",outcome="received"})'
    eventually("Prometheus to have it", lambda: prometheus.value(query) - received(), lambda n: n == 0, within=40)
    databases = len(OUTBOXES) + 2  # and the context's own
    shown = {
        f"count(count by (outbox) ({name}))": databases
        for name in ("events_outbox_depth", "events_outbox_age_seconds", "events_parked")
    } | {"count(count by (queue) (events_queue_length))": 15}
    eventually(
        "each outbox and queue in Prometheus",
        lambda: {one: prometheus.value(one) for one in shown},
        lambda seen: seen == shown,
        within=20,
    )
    ran = 'sum(celery_task_seconds_count{task="products.tasks.handle_order_event"})'
    eventually("the task's time", lambda: prometheus.value(ran), lambda seen: seen >= 1, within=20)


# ── failures ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.failure
@pytest.mark.parametrize(("how", "seconds"), [("kill", 60.0), ("pause", 20.0)])
def test_orders_are_accepted_without_the_broker_and_take_effect_after_its_recovery(
    broken: Stack, shop: Shop, prometheus: Prometheus, how: str, seconds: float
) -> None:
    services, person, stocked, outboxes = shop
    who, product = person(), stocked(10_000)
    depth, age = (f"max by (outbox) (events_outbox_{one})" for one in ("depth", "age_seconds"))
    items = [{"product_id": product, "quantity": 1}]
    answers: list[int] = []
    slowest = 0.0

    def order(number: int) -> None:
        nonlocal slowest
        started = time.monotonic()
        answers.append(place(services, who, str(number), items).status_code)
        slowest = max(slowest, time.monotonic() - started)

    getattr(broken, how)("redis-queue")
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(2) as pool:  # no more than the gateway lets through
        number = 0
        while time.monotonic() < until and number < 190:
            list(pool.map(order, (number, number + 1)))
            number += 2
            time.sleep(0.25)  # four orders in a second or so
        while time.monotonic() < until:
            time.sleep(0.25)  # the rest of the time
    eventually(
        "Prometheus to know of every event that waits",
        lambda: prometheus.value(f"sum({depth})"),
        lambda seen: seen >= number,
        within=15,
    )
    assert prometheus.value(f"max({age})") > seconds / 2
    assert prometheus.value('count(events_queue_length{queue="orders.events"} >= 0)') == 0  # unknown
    broken.start("redis-queue")
    assert Counter(answers) == {201: number}
    assert slowest < 2.0 * TIME_FACTOR
    eventually(
        "every order to be confirmed",
        lambda: statuses(services, who),
        lambda seen: seen == {"confirmed": number},
        within=BACK,
        interval=1,
    )
    eventually("nothing to be left", lambda: left(outboxes), lambda seen: seen == 0, within=60, interval=1)
    eventually("Prometheus to know", lambda: prometheus.value(f"sum({depth})"), lambda seen: seen == 0, within=15)
    eventually(
        "each order to have taken one piece",
        lambda: product_of(services, product),
        lambda seen: seen == (10_000 - number, number),
        within=5,
    )


@pytest.mark.failure
def test_a_worker_that_is_killed_in_the_middle_of_an_event_twenty_times_leaves_twenty_effects(
    broken: Stack, shop: Shop
) -> None:
    services, person, stocked, outboxes = shop
    who, product = person(), stocked(100)
    items = [{"product_id": product, "quantity": 1}]
    database = outboxes[0]
    blocked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND wait_event_type = 'Lock'"
        " AND query LIKE '%products_product%FOR NO KEY UPDATE%'"
    )
    for number in range(20):
        with database.transaction():
            # While this row is locked here, the worker stands in the middle of its transaction.
            database.execute("SELECT 1 FROM products_product WHERE id = %s FOR UPDATE", [product])
            assert place(services, who, str(number), items).status_code == 201
            watching = connect(broken, "main", "shop", "shop_app")
            try:
                eventually(
                    f"the worker to wait for the row ({number})",
                    lambda: watching.execute(blocked).fetchone(),  # noqa: B023 - called before the next round
                    lambda seen: seen is not None and seen[0] > 0,
                    within=60,
                )
            finally:
                watching.close()
            broken.kill("worker")
        broken.start("worker")
    eventually(
        "every order to be confirmed",
        lambda: statuses(services, who),
        lambda seen: seen == {"confirmed": 20},
        within=BACK,
        interval=1,
    )
    eventually("nothing to be left", lambda: left(outboxes), lambda seen: seen == 0, within=180, interval=1)
    eventually("each to have taken one", lambda: product_of(services, product), lambda seen: seen == (80, 20), within=5)


@pytest.mark.failure
def test_a_service_that_is_killed_between_commit_and_send_loses_no_event(broken: Stack, shop: Shop) -> None:
    services, person, stocked, outboxes = shop
    who, product = person(), stocked(1000)
    items = [{"product_id": product, "quantity": 1}]

    answers: list[int] = []
    stop = threading.Event()

    def buy(buyer: int) -> None:
        for number in itertools.count():
            if stop.wait(0.05) or answers.count(201) >= MOST:
                return
            answers.append(place(services, who, f"{buyer}-{number}", items).status_code)

    buyers = [threading.Thread(target=buy, args=[number]) for number in range(4)]
    for one in buyers:
        one.start()
    try:
        for kill in range(1, 4):
            wanted = kill * MOST // 4
            eventually(f"{wanted} orders", lambda: answers.count(201), partial(operator.le, wanted), within=60)
            broken.kill("orders")  # in the middle of some
            broken.start("orders")
    finally:
        stop.set()
        for one in buyers:
            one.join()
    assert set(answers) <= {201, 502, 503, 504}
    least = answers.count(201)  # an order whose answer was lost may exist too

    def confirmed() -> int:
        """Return the number of orders if all are confirmed."""
        seen = statuses(services, who)
        return seen["confirmed"] if set(seen) == {"confirmed"} else 0

    eventually("every order that there is to be confirmed", confirmed, lambda n: n >= least, within=60, interval=1)
    eventually("nothing to be left", lambda: left(outboxes), lambda seen: seen == 0, within=60, interval=1)
    eventually(
        "each order to have taken one piece",  # counted with each look, as one may miss the last ones
        lambda: (confirmed(), product_of(services, product)),
        lambda seen: seen[0] >= least and seen[1] == (1000 - seen[0], seen[0]),
        within=10,
    )


@pytest.mark.failure
@pytest.mark.long
def test_orders_are_confirmed_soon_while_a_hundred_thousand_products_are_renamed_and_workers_are_killed(
    broken: Stack, shop: Shop
) -> None:
    many, first = 100_000, 9_000_000_000
    who, product = shop.person(), shop.stocked(100)
    shop.outboxes[0].execute(
        "INSERT INTO events_outbox (event_id, name, aggregate, consumer, data, due_at, bulk)"
        " SELECT gen_random_uuid(), 'product_changed', 'product:' || id, 'orders.tasks.handle_product_event',"
        " jsonb_build_object('product_id', id, 'name', 'tests ' || id), now(), true"
        " FROM generate_series(%s::bigint, %s::bigint) AS id",
        [first, first + many - 1],
    )
    for number in range(20):
        broken.kill(("worker", "orders-worker")[number % 2])
        broken.start(("worker", "orders-worker")[number % 2])
        assert place(shop.services, who, str(number), [{"product_id": product, "quantity": 1}]).status_code == 201
        # The first one after a kill may have been sent to the worker that was killed; from then on
        # it is 5 s.
        eventually(
            f"the order after kill {number} to be confirmed",
            lambda: statuses(shop.services, who),
            lambda seen: seen == {"confirmed": 2 * number + 1},  # noqa: B023 - called before the next round
            within=60,
        )
        assert place(shop.services, who, f"{number} b", [{"product_id": product, "quantity": 1}]).status_code == 201
        eventually(
            "an order beside the many to be confirmed",
            lambda: statuses(shop.services, who),
            lambda seen: seen == {"confirmed": 2 * number + 2},  # noqa: B023 - as above
            within=5,
        )
    assert left(shop.outboxes) > 0, "the many were done before the end: let there be more"
    eventually("nothing to be left", lambda: left(shop.outboxes), lambda seen: seen == 0, within=7200, interval=5)
    assert product_of(shop.services, product) == (60, 40)
    with connect(broken, "main", "orders", "orders_app") as orders:
        row = orders.execute(
            "SELECT count(*), count(*) FILTER (WHERE name = 'tests ' || product_id) FROM orders_productname"
            " WHERE product_id >= %s",
            [first],
        ).fetchone()
        orders.execute("DELETE FROM orders_productname WHERE product_id >= %s", [first])
    assert row == (many, many)
