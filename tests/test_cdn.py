"""The edge cache: it caches only public answers, shows no private one, and obeys purges."""

from __future__ import annotations

import itertools
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import requests
from support.client import BROWSER, Site, assert_problem
from support.edge import SERVICE, Edge, Origin, how, in_front_of, with_origin
from support.load import at_once
from support.prices import Prices, change
from support.restore import restore
from support.services import Person, Services, place
from support.settings import TIME_FACTOR
from support.stack import CommandError, Stack, run
from support.wait import eventually

MAX_AGE, REVALIDATE = 30, 30  # seconds; app/shop/products/views.py
LATEST = 7.0  # seconds until each read shows a change


@pytest.fixture(scope="module")
def edge(stack: Stack) -> Iterator[Edge]:
    """The stack's own edge, after the second purges of earlier changes."""
    began = time.monotonic()
    with in_front_of(stack) as edge:
        time.sleep(max(0.0, began + LATEST - time.monotonic()))
        yield edge


@pytest.fixture(scope="module")
def origin(stack: Stack, edge: Edge) -> Iterator[Origin]:
    """Another edge, in front of an origin that the test controls."""
    with with_origin(stack) as origin:
        yield origin


@pytest.fixture
def prices(site: Site) -> Iterator[Callable[[int, int], None]]:
    """A function that changes the price of a product; the price is restored."""
    before = {one["id"]: one["price"]["amount"] for one in site.get("/api/products/?limit=20").json()["items"]}
    yield partial(change, site)
    for key, amount in before.items():
        change(site, key, amount)


def fresh(path: str) -> str:
    """Return `path` with a new query, so that no cache has it."""
    return f"{path}{'&' if '?' in path else '?'}test={uuid.uuid4().hex}"


def names(answer: requests.Response) -> set[str]:
    """Return the names of the headers in lower case."""
    return {name.lower() for name in answer.headers}


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/api/products/", "/api/products/{}", "/api/products/categories"])
def test_the_second_request_is_a_hit_with_an_age(edge: Edge, site: Site, product: int, path: str) -> None:
    path = fresh(path.format(product))
    first, second = edge.get(path), edge.get(path)
    assert (how(first), how(second)) == ("fwd=miss", "hit")
    assert first.text == second.text == site.get(path).text
    aged = eventually("an age", lambda: edge.get(path), lambda seen: int(seen.headers["Age"]) >= 1, within=5)
    assert how(aged) == "hit"
    assert int(aged.headers["Age"]) < MAX_AGE


def test_the_edge_keeps_no_header_about_one_request(edge: Edge, product: int) -> None:
    path = fresh(f"/api/products/{product}")
    edge.get(path, headers={"X-Request-ID": "first"})
    hit = edge.get(path, headers={"X-Request-ID": "second"})
    assert how(hit) == "hit"
    assert hit.headers["X-Request-ID"] == "second"
    assert edge.get(path).headers["X-Request-ID"] not in ("first", "second", "")
    of_one_request = {"x-served-by", "x-cache", "x-database", "x-database-server", "x-read-after", "set-cookie"}
    assert not names(hit) & {
        *of_one_request,
        "ratelimit",
        "ratelimit-policy",
        "surrogate-key",
        "cache-tag",
        "xkey",
        "x-varnish",
        "via",
    }


def test_a_static_file_is_kept_in_each_encoding_and_may_be_used_by_other_sites(edge: Edge, site: Site) -> None:
    page = site.get("/", headers={"Accept": BROWSER}).text
    path = next(name for name in re.findall(r'"(/static/[^"]+)"', page) if name.endswith(".css"))
    assert 'crossorigin="anonymous"' in page
    plain = edge.get(path, headers={"Accept-Encoding": "identity"})
    sizes = {"": len(plain.content)}
    for accepted, encoding in [("br, gzip", "br"), ("gzip, deflate", "gzip"), ("gzip;q=0.5, br;q=0", "gzip")]:
        raw = edge.get(path, headers={"Accept-Encoding": accepted}, stream=True)
        assert raw.headers["Content-Encoding"] == encoding, accepted
        sizes[encoding] = len(raw.raw.read(decode_content=False))
        again = edge.get(path, headers={"Accept-Encoding": accepted}, stream=True)
        assert (how(again), again.headers["Content-Encoding"]) == ("hit", encoding)
        assert again.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert again.headers["Access-Control-Allow-Origin"] == "*"
        assert "accept-encoding" in again.headers["Vary"].lower()
    assert sizes["br"] < sizes["gzip"] < sizes[""]
    assert edge.get(path, headers={"Accept-Encoding": "gzip"}).content == plain.content


def test_an_answer_is_kept_for_each_encoding(edge: Edge, product: int) -> None:
    path = fresh("/api/products/?limit=20")
    for accepted in ("gzip", "identity", "br, gzip"):
        edge.get(path, headers={"Accept-Encoding": accepted})
    hits = {one: edge.get(path, headers={"Accept-Encoding": one}) for one in ("gzip", "identity", "br, gzip")}
    assert {how(one) for one in hits.values()} == {"hit"}
    assert len({one.text for one in hits.values()}) == 1
    assert hits["gzip"].headers["Content-Encoding"] == hits["br, gzip"].headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in hits["identity"].headers


def test_a_range_gets_206_and_an_impossible_range_the_whole_answer(edge: Edge, product: int) -> None:
    plain, path = {"Accept-Encoding": "identity"}, fresh(f"/api/products/{product}")
    whole = edge.get(path, headers=plain).content
    size = len(whole)
    parts = {"0-4": whole[:5], "5-": whole[5:], "-3": whole[-3:], f"3-{size + 9}": whole[3:], f"-{size + 9}": whole}
    wrong = ["2-0", f"{size}-", f"{size + 5}-{size + 9}", "-0", "0", "--1", "0-1,3-4", f"0-{'9' * 30}", ""]
    for span in [*parts, *wrong]:
        answer = edge.get(path, headers=plain | {"Range": f"bytes={span}"})
        expected = (206, parts[span]) if span in parts else (200, whole)
        assert (answer.status_code, answer.content) == expected, span
    never = edge.get(fresh(f"/api/products/{product}"), headers=plain | {"Range": f"bytes={size + 9999}-"})
    assert never.status_code == 200, "a URL that was never requested"
    head = edge.site.request("HEAD", path, headers=plain | {"Range": "bytes=0-4"})
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(size)), "parts are of GET"


def test_a_client_that_has_just_written_bypasses_the_edge(edge: Edge, product: int) -> None:
    path = fresh(f"/api/products/{product}")
    for cookies in (
        "Cookie: a=b; read_after=1",
        "Cookie: read_after=1\r\nCookie: a=b",
        "Cookie: a=b\r\nCookie: read_after=1",
    ):
        edge.get(path)
        answer = edge.site.raw(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookies}\r\n\r\n".encode()
        )
        assert b"; fwd=bypass" in answer, (cookies, answer)


# ── 304 ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/", "/products/{}/", "/api/products/{}", "/api/products/categories"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_client_with_the_current_etag_gets_304_with_and_without_the_edge(
    edge: Edge, site: Site, product: int, path: str, encoding: str
) -> None:
    path, accept = path.format(product), {"Accept-Encoding": encoding}
    tag = site.get(path, headers=accept).headers["ETag"]
    assert tag.startswith('W/"')
    for front, method in itertools.product((site, edge.site), ("GET", "HEAD")):
        assert front.request(method, path, headers=accept).headers["ETag"] == tag
        again = front.request(method, path, headers=accept | {"If-None-Match": tag})
        assert again.status_code == 304, (front.url, method)
        assert not again.content
        assert again.headers["ETag"] == tag
        assert again.headers["Cache-Control"]
        assert front.request(method, path, headers=accept | {"If-None-Match": 'W/"other"'}).status_code == 200


# ── what is not kept ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("path", "control"),
    [
        ("/", "no-cache"),
        ("/search/?q=tent", "no-cache"),
        ("/session/", "private"),
        ("/counter/", "private"),
        ("/health/", "no-store"),
        ("/nothing/here", "no-store"),
        ("/api/products/999999999", "no-store"),
        ("/api/products/?limit=no", "no-store"),
        ("/api/users/1", "no-store"),
        ("/api/products/openapi.json", "no-store"),
        ("/metrics", "no-store"),
        ("/media/products/00000000000000000000000000000000.webp", "no-store"),
    ],
)
def test_private_answers_errors_and_pages_are_not_cached(edge: Edge, site: Site, path: str, control: str) -> None:
    for _ in range(3):
        answer = edge.get(path)
        assert how(answer).startswith("fwd="), answer.headers
        assert "Age" not in answer.headers or answer.headers["Age"] == "0"
        assert control in answer.headers.get("Cache-Control", "")
    assert answer.status_code == site.get(path).status_code


def test_a_session_continues_through_the_edge_and_belongs_to_one_browser(edge: Edge) -> None:
    with edge.site.session() as mine, edge.site.session() as others:
        assert [mine.get("/session/").json()["visits"] for _ in range(3)] == [1, 2, 3]
        assert others.get("/session/").json()["visits"] == 1
        assert mine.get("/session/").json()["visits"] == 4


def test_a_request_with_a_token_is_answered_by_the_site(edge: Edge, product: int, staff: Person) -> None:
    path = fresh(f"/api/products/{product}")
    edge.get(path)
    for _ in range(2):
        answer = edge.get(path, headers=staff.headers)
        assert how(answer) == "fwd=bypass"
        assert answer.headers["Cache-Control"] == "private, no-store"
    assert how(edge.get(path)) == "hit"


def test_changes_pass_the_edge_and_an_unknown_method_is_rejected(edge: Edge) -> None:
    before = edge.get("/counter/").json()["count"]
    assert edge.site.post("/counter/").json()["count"] > before
    for method in ("PURGE", "TRACE", "CONNECT", "BAN"):
        assert edge.site.request(method, "/").status_code in (400, 405, 501), method


@pytest.mark.parametrize("forged", ["X-Edge", "X-Edge-Status", "Surrogate-Key", "Cache-Tag", "xkey"])
def test_forged_headers_change_no_cached_answer(edge: Edge, product: int, forged: str) -> None:
    path = fresh(f"/api/products/{product}")
    first = edge.get(path, headers={forged: "failed"})
    assert (how(first), how(edge.get(path, headers={forged: "refresh"}))) == ("fwd=miss", "hit")


def test_the_site_sees_the_caller_behind_the_edge_and_nothing_that_it_claims(edge: Edge, stack: Stack) -> None:
    identifier = uuid.uuid4().hex
    edge.get("/counter/", headers={"X-Request-ID": identifier, "X-Forwarded-For": "203.0.113.66"})
    lines = eventually(
        "a line in the log",
        lambda: [line for line in stack.logs("web", tail=200).splitlines() if identifier in line],
        within=5,
    )
    assert "203.0.113.66" not in "".join(lines)
    client = re.search(r'"client": ?"([0-9a-f.:]+)"', lines[0])
    assert client is not None, lines[0]
    assert client[1] != stack.container(SERVICE).address("edge")


# ── purging ───────────────────────────────────────────────────────────────────────────────────────
# First the tests that expect hits: a change is purged once more some seconds after it.
def test_a_url_is_purged_in_all_its_encodings(edge: Edge, product: int) -> None:
    path, other = fresh(f"/api/products/{product}"), fresh(f"/api/products/{product}")
    for accepted in ("gzip", "identity"):
        edge.get(path, headers={"Accept-Encoding": accepted})
        edge.get(other, headers={"Accept-Encoding": accepted})
    assert edge.purge(path=path).status_code == 200
    for accepted in ("gzip", "identity"):
        assert how(edge.get(path, headers={"Accept-Encoding": accepted})) == "fwd=miss"
        assert how(edge.get(other, headers={"Accept-Encoding": accepted})) == "hit"
    # A host name in capitals is the same host, in purges and in requests.
    assert edge.purge(path=path, host=f"{edge.site.host}:{edge.site.port}".upper()).status_code == 200
    assert how(edge.get(path, headers={"Accept-Encoding": "gzip"})) == "fwd=miss"


def test_a_purge_without_the_secret_is_rejected(edge: Edge, product: int) -> None:
    path = fresh(f"/api/products/{product}")
    edge.get(path)
    for word in ("", "wrong"):
        assert edge.purge("products", word=word).status_code == 403
        assert edge.purge("*", word=word).status_code == 403
        assert edge.purge(path=path, word=word).status_code == 403
    assert edge.site.request("PURGE", path).status_code == 405
    assert how(edge.get(path)) == "hit"
    assert edge.purge("*").status_code == 200
    assert how(edge.get(path)) == "fwd=miss"


def test_a_change_purges_every_page_that_shows_it_and_no_other(
    edge: Edge, site: Site, product: int, prices: Callable[[int, int], None]
) -> None:
    items = site.get("/api/products/?limit=20").json()["items"]
    other = next(one["id"] for one in items if one["category"] != items[0]["category"])
    slug = items[0]["category"]["slug"]
    shows = [fresh(f"/api/products/{product}"), fresh("/api/products/"), fresh(f"/api/products/?category={slug}")]
    untouched = [fresh(f"/api/products/{other}"), fresh("/api/products/categories")]
    price = 70_000_000 + random.randrange(1_000_000)

    def look() -> list[bool]:
        prices(product, price)  # a process without an edge retries after a pause
        return [str(price) in edge.get(path).text for path in shows]

    eventually("the new price everywhere", look, all, within=10)
    # Now that the way is known to be open: once, and at once.
    for path in shows + untouched:
        eventually("a hit", lambda path=path: how(edge.get(path)), lambda seen: seen == "hit", within=10)  # type: ignore[misc]
    # The second telling of the change above must not be taken for the first one of the change
    # below.
    time.sleep(LATEST)
    for path in shows + untouched:
        edge.get(path)
    prices(product, price + 1)
    eventually(
        "the newer price everywhere",
        lambda: [str(price + 1) in edge.get(path).text for path in shows],
        all,
        within=min(1.5, 5.0 / TIME_FACTOR),  # before the second purge
        interval=0.05,
    )
    # Kept, if by now perhaps older than its max-age: a purge would leave nothing.
    assert all(how(edge.get(path)).startswith("hit") for path in untouched)


def test_a_change_through_the_api_is_seen_by_its_author_at_once_and_by_all_soon(
    edge: Edge, product: int, staff: Person, prices: Callable[[int, int], None]
) -> None:
    path = f"/api/products/{product}"
    edge.get(path)
    price = 60_000_000 + random.randrange(1_000_000)
    body = {"price": {"amount": price, "currency": "EUR"}}
    with edge.site.session() as author:
        changed = author.patch(path, json=body, headers=staff.headers)
        assert changed.status_code == 200
        assert changed.headers["Cache-Control"] == "private, no-store"
        assert author.get(path).json()["price"]["amount"] == price  # by its cookie
    after = {"X-Read-After": changed.headers["X-Read-After"]}
    assert edge.get(path, headers=after).json()["price"]["amount"] == price
    eventually(
        "the price for everybody",
        lambda: edge.get(path).json()["price"]["amount"],
        lambda seen: seen == price,
        within=LATEST,
    )


@pytest.mark.parametrize(
    ("changes", "factor"),
    [(30, min(1.5, TIME_FACTOR)), pytest.param(200, TIME_FACTOR, marks=pytest.mark.long)],
    ids=["few", "many"],
)
def test_under_load_no_read_is_stale_once_the_purges_have_arrived(
    edge: Edge, site: Site, changes: int, factor: float
) -> None:
    items = site.get("/api/products/?limit=4").json()["items"]
    seen = Prices(edge.site, [one["id"] for one in items])
    with seen.read(threads=3):
        for number, product in zip(range(changes), itertools.cycle(seen.products), strict=False):
            change(site, product, 50_000_000 + number)
            seen.note(product, 50_000_000 + number)
            time.sleep(0.1)
        time.sleep(LATEST * factor + 2)  # until nothing is on its way, and for a moment that shows it
        last = {product: changes[-1][1] for product, changes in seen.changes.items()}
        eventually("the last prices", seen.latest, lambda prices: prices == last, within=LATEST)
    for one in items:
        change(site, one["id"], one["price"]["amount"])
    assert not seen.errors, seen.errors[:5]
    assert not (old := seen.old(LATEST, factor)), old[:10]
    assert seen.latest() == last


# ── who asks what: a fuzzed sequence ──────────────────────────────────────────────────────────────
ROUNDS = 200  # requests of each user
USERS = 4


@dataclass
class Visitor:
    """A browser with its own session and account, and the texts that only it may see."""

    edge: Edge
    person: Person
    order: str
    dice: random.Random
    session: str = ""
    asked: int = 0
    visits: int = 0
    hits: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.browser = self.edge.site.session()
        self.tags = ['W/"other"', "*"]

    @property
    def marks(self) -> list[str]:
        """The texts in this user's private answers."""
        return [self.person.email, self.order]

    def step(self, others: list[Visitor]) -> None:
        """Send one request and check its answer."""
        dice, headers = self.dice, dict[str, str]()
        other = dice.choice(others)
        token = dice.choice(["", "", self.person.token])
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if dice.random() < 0.2:
            headers["If-None-Match"] = dice.choice(self.tags)
        if dice.random() < 0.1:
            name = dice.choice(["If-Match", "If-Unmodified-Since", "If-Modified-Since", "If-Range", "Range"])
            date = f"Wed, 21 Oct 20{dice.choice(['15', '65'])} 07:28:00 GMT"
            headers[name] = {"If-Match": '"x"', "Range": f"bytes={dice.randrange(3)}-{dice.randrange(9)}"}.get(
                name, date
            )
        if "Range" in headers:
            headers["Accept-Encoding"] = "identity"  # a part of a compressed answer cannot be decoded
        elif dice.random() < 0.3:
            headers["Accept-Encoding"] = dice.choice(["gzip", "br", "identity", "gzip;q=0"])
        if dice.random() < 0.1:
            headers["X-Read-After"] = "0/1"
        odd = ["?x=1", f"?x={dice.randrange(3)}", "/style.css", "?.css", "&a=.js", "%2f.js"]
        suffix = dice.choice(odd) if dice.random() < 0.6 else ""
        path = dice.choice([
            "/session/", "/session/", f"/api/users/{self.person.id}", f"/api/users/{other.person.id}",
            f"/api/users/{self.person.id}/orders", f"/api/users/{other.person.id}/orders", "/api/orders/",
            f"/api/orders/{self.order}", f"/api/orders/{other.order}", "/api/products/", "/api/products/1", "/",
            "/counter/", "/products/1/", "/api/products/categories", "/api/products/?limit=3",
            "/api/products/", "/api/products/1", "/api/products/categories",
        ]) + suffix  # fmt: skip
        method = dice.choices(["GET", "HEAD", "POST", "PUT", "OPTIONS"], [12, 2, 1, 1, 1])[0]
        if dice.random() < 0.5:  # for a minute after a POST they lead past the edge
            for name in [one.name for one in self.browser.cookies if one.name.startswith("read_after")]:
                self.browser.cookies.pop(name)
        answer = self.browser.request(method, path, headers=headers)
        self.judge(f"{method} {path} {headers}", answer, bool(token), others)

    def visit(self, others: list[Visitor]) -> int:
        """Ask for the session, and return the number of visits."""
        self.judge("GET /session/ {}", self.browser.get("/session/"), False, others)
        return self.visits

    def judge(self, what: str, answer: requests.Response, known: bool, others: list[Visitor]) -> None:
        """Record each wrong property of the answer."""
        method, path = what.split(" ")[:2]
        status, text = how(answer), answer.text
        said = answer.headers.get("Cache-Control", "")
        if tag := answer.headers.get("ETag"):
            self.tags.append(tag)
        for other in others:
            self.wrong += [f"{what}: shows {mark!r} of another" for mark in other.marks if mark in text]
        if not known:
            self.wrong += [f"{what}: shows {mark!r} without a token" for mark in self.marks if mark in text]
        self.session = self.browser.cookies.get("sessionid") or ""
        if self.session and self.session in {other.session for other in others}:
            self.wrong.append(f"{what}: the session of another")
        if status.startswith("hit"):
            self.hits += 1
            if "public" not in said or known or "Set-Cookie" in answer.headers or method not in ("GET", "HEAD"):
                self.wrong.append(f"{what}: a hit with {dict(answer.headers)}")
        if answer.status_code in (412, 500):
            self.wrong.append(f"{what}: {text[:200]}")
        if answer.status_code >= 400 and "no-store" not in said:
            self.wrong.append(f"{what}: {answer.status_code} with {said!r}")
        if re.fullmatch(r"/session/(\?[^/]*)?", path) and method in ("GET", "HEAD"):
            self.asked += 3  # a load balancer tries a GET that takes too long up to three times, and each may count
            if method == "GET" and answer.status_code == 200:
                visits = answer.json()["visits"]
                if not self.visits < visits <= self.asked:
                    self.wrong.append(f"{what}: visit {visits}, after {self.visits} and before {self.asked}")
                self.visits = visits


def test_no_sequence_of_requests_shows_one_user_anothers_page(
    edge: Edge, services: Services, person: Callable[[], Person], product: int
) -> None:
    seed = int(os.environ.get("CDN_SEED") or random.SystemRandom().randrange(10**9))
    visitors, items = [], [{"product_id": product, "quantity": 1}]
    for number in range(USERS):
        who = person()
        order = uuid.uuid4().hex
        placed = eventually(
            "an order",
            lambda who=who, order=order: place(services, who, order, items),  # type: ignore[misc]
            lambda answer: answer.status_code in (200, 201),  # the same one, however often a busy site is asked
            within=20,
        )
        visitors.append(Visitor(edge, who, str(placed.json()["id"]), random.Random(f"{seed}/{number}")))

    def use(number: int) -> None:
        me = visitors[number]
        others = [one for one in visitors if one is not me]
        for _ in range(ROUNDS):
            me.step(others)
        eventually("a visit", lambda: me.visit(others), within=10)  # the dice may have given none
        me.browser.close()

    at_once(USERS, USERS, use)
    wrong = [line for one in visitors for line in one.wrong]
    assert not wrong, f"CDN_SEED={seed}: {len(wrong)} answers, of which {wrong[:5]}"
    assert sum(one.hits for one in visitors) > USERS * ROUNDS / 50, f"CDN_SEED={seed}: too few hits to say anything"
    assert all(one.visits for one in visitors)


# ── the edge by itself, with an origin that says anything ─────────────────────────────────────────
@pytest.mark.parametrize(
    ("control", "headers"),
    [
        ("", {}),
        ("no-cache", {}),
        ("no-store", {}),
        ("private", {}),
        ("max-age=60", {}),  # not marked as public
        ("public", {}),
        ("public, max-age=0", {}),
        ("public, max-age=60, private", {}),
        ("public, max-age=60, no-store", {}),
        ("PRIVATE, max-age=60", {}),
        ("public, max-age=60", {"Set_Cookie": "a=b"}),
        ("public, max-age=60", {"Vary": "*"}),
        ("private, no-store", {"Surrogate_Control": "max-age=60"}),
        ("public, max-age=60", {"CDN_Cache_Control": "public, max-age=0"}),
        ("public, max-age=60", {"CDN_Cache_Control": "public"}),
        ("public, max-age=60", {"CDN_Cache_Control": "private, max-age=60"}),
        ("public, max-age=60", {"CDN_Cache_Control": "no-store"}),
        ("no-store", {"CDN_Cache_Control": "max-age=60"}),
    ],
)
def test_an_answer_that_is_not_public_is_not_cached(origin: Origin, control: str, headers: dict[str, Any]) -> None:
    path = origin.path(uuid.uuid4().hex, control, **headers)
    answers = [origin.edge.get(path) for _ in range(3)]
    assert [one.json()["n"] for one in answers] == [1, 2, 3]


def test_cdn_cache_control_overrides_cache_control(origin: Origin) -> None:
    for_cdns = "public, max-age=60, stale-while-revalidate=60"
    path = origin.path(uuid.uuid4().hex, "public, max-age=0", CDN_Cache_Control=for_cdns)
    answers = [origin.edge.get(path) for _ in range(3)]
    assert [one.json()["n"] for one in answers] == [1, 1, 1]
    assert {one.headers["Cache-Control"] for one in answers} == {"public, max-age=0"}
    assert not {name for one in answers for name in names(one) if "cdn-" in name or name.startswith("x-edge")}


def test_a_purged_answer_is_served_only_while_the_origin_fails(origin: Origin) -> None:
    control = "public, max-age=60, stale-while-revalidate=60, stale-if-error=60"
    purged = {
        what: origin.path(uuid.uuid4().hex, control, Surrogate_Key="wrong" if what == "tag" else "right")
        for what in ("tag", "url", "all")
    }
    tag, url, everything = purged.values()
    other = origin.path(uuid.uuid4().hex, control, Surrogate_Key="right")
    never = origin.path(uuid.uuid4().hex, "public, max-age=60")
    paths = (tag, url, everything, other)

    def numbers() -> list[int]:
        return [origin.edge.get(path).json()["n"] for path in paths]

    assert numbers() == [1, 1, 1, 1]
    assert origin.edge.purge("wrong").status_code == 200
    assert numbers() == [2, 1, 1, 1]
    assert origin.edge.purge(path=url).status_code == 200
    assert numbers() == [2, 2, 1, 1]
    assert origin.edge.purge("*").status_code == 200
    assert numbers() == [3, 3, 2, 2]
    origin.edge.purge("wrong")
    origin.edge.purge(path=url)
    assert origin.edge.get(never).json()["n"] == 1
    origin.go("down")
    try:
        for _ in range(3):
            for path in (tag, url):
                answer = origin.edge.get(path)
                assert (answer.status_code, how(answer)) == (200, "hit; detail=stale-if-error")
            assert how(origin.edge.get(other)) == "hit"
        origin.edge.purge("*")
        assert how(origin.edge.get(other)) == "hit; detail=stale-if-error"
        assert origin.edge.get(never).status_code == 503, "the origin permits no stale answer"
    finally:
        origin.go("up")
    eventually("the next ones", numbers, lambda seen: min(seen) >= 3, within=5)


def test_an_edge_with_a_new_configuration_remembers_the_purges(origin: Origin) -> None:
    path = origin.path(uuid.uuid4().hex, "public, max-age=60, stale-if-error=60", Surrogate_Key="wrong")
    assert origin.edge.get(path).json()["n"] == 1
    assert origin.edge.purge("*").status_code == 200
    origin.load_again()
    assert origin.edge.get(path).json()["n"] == 2


def test_an_answer_is_cached_per_variant_of_vary(origin: Origin) -> None:
    path = origin.path(uuid.uuid4().hex, "public, max-age=60", Vary="Accept-Language")
    seen = [origin.edge.get(path, headers={"Accept-Language": one}).json()["n"] for one in ("de", "en", "de", "en")]
    assert seen == [1, 2, 1, 2]


def test_concurrent_requests_are_one_fetch_and_a_private_answer_is_never_shared(origin: Origin) -> None:
    path = origin.path(uuid.uuid4().hex, "public, max-age=60")
    assert {one.json()["n"] for one in at_once(40, 20, lambda _: origin.edge.get(path))} == {1}
    own = origin.path(uuid.uuid4().hex, "private, no-store")
    answers = at_once(40, 20, lambda n: (n, origin.edge.get(own, headers={"Cookie": f"who={n}"}).json()))
    assert [dict(answer["heard"])["cookie"] for _, answer in answers] == [f"who={n}" for n, _ in answers]


def recovered(origin: Origin) -> None:
    """Wait until the edge detects its recovered origin: before, it serves purged answers."""

    def asked_again() -> bool:
        # A new one, which nothing refreshes unseen. What may not be stale is fetched in any case.
        path = origin.path(uuid.uuid4().hex, "public, max-age=60, stale-if-error=60")
        before = origin.edge.get(path)
        origin.edge.purge(path=path)
        return bool(before.ok and origin.edge.get(path).json()["n"] == before.json()["n"] + 1)

    eventually("the edge to ask its origin", asked_again, bool, within=30)


# Answers with these headers: the tests of what happens to an old answer share the wait for its age.
# They come after the tests that purge everything, and the first of them before all other purges:
# what has expired before a purge is not served during its refresh.
OLD: dict[str, tuple[str, dict[str, Any]]] = {
    "purged": (
        "public, max-age=1, stale-while-revalidate=60, stale-if-error=60",
        {"Surrogate_Key": "old-purged"},
    ),
    "confirmed": ("public, max-age=2", {"ETag": 'W/"x"'}),
    "confirmed, with tags": (
        "public, max-age=2, stale-if-error=60",
        {"ETag": 'W/"x"', "Surrogate_Key": "old-confirmed"},
    ),
    "refreshed": ("public, max-age=1, stale-while-revalidate=60", {}),
    "too old": ("public, max-age=1, stale-while-revalidate=1, stale-if-error=60", {}),
    "kept": ("public, max-age=1, stale-if-error=60", {}),
    "strict": ("public, max-age=1", {}),
    "short": ("public, max-age=1, stale-if-error=1", {}),
    "gone": ("public, max-age=1, stale-if-error=600", {}),
    "queue": ("public, max-age=1, stale-if-error=600", {}),
}


@pytest.fixture(scope="module")
def old(origin: Origin) -> dict[str, str]:
    """The paths of OLD, whose answers the edge has; each is too old to be served as fresh."""
    paths = {name: origin.path(uuid.uuid4().hex, control, **headers) for name, (control, headers) in OLD.items()}
    assert [origin.edge.get(path).json()["n"] for path in paths.values()] == [1] * len(paths)
    time.sleep(2.5)
    return paths


def hit(origin: Origin, path: str) -> requests.Response:
    """Return a fresh answer of the edge, which a stall of this machine can let expire."""
    return eventually("a hit", lambda: origin.edge.get(path), lambda seen: how(seen) == "hit", within=5, interval=0)


def test_a_stale_answer_is_served_during_its_refresh_within_stale_while_revalidate(
    origin: Origin, old: dict[str, str]
) -> None:
    stale = origin.edge.get(old["refreshed"])
    assert (how(stale), stale.json()["n"]) == ("hit; detail=stale-while-revalidate", 1)
    eventually("the next one", lambda: origin.edge.get(old["refreshed"]).json()["n"], lambda seen: seen >= 2, within=3)
    assert origin.edge.get(old["too old"]).json()["n"] == 2  # not served while the origin answers


def test_an_answer_that_was_stale_before_its_purge_is_not_served_while_the_origin_answers(
    origin: Origin, old: dict[str, str]
) -> None:
    assert origin.edge.purge("old-purged").status_code == 200
    assert origin.edge.get(old["purged"]).json()["n"] == 2


def test_the_tags_stay_with_an_answer_that_the_origin_has_confirmed(origin: Origin, old: dict[str, str]) -> None:
    path = old["confirmed, with tags"]
    assert how(origin.edge.get(path)) == "fwd=miss"  # asked for with its validator
    hit(origin, path)
    assert origin.edge.purge("old-confirmed").status_code == 200
    assert how(origin.edge.get(path)) == "fwd=miss"


def test_an_expired_answer_is_revalidated(origin: Origin, old: dict[str, str]) -> None:
    answer = origin.edge.get(old["confirmed"])
    # The origin has said 304: what was there is good for another two seconds.
    assert (how(answer), answer.json()["n"]) == ("fwd=miss", 1)
    assert hit(origin, old["confirmed"]).json()["n"] == 1


def test_a_failing_origin_gives_a_stale_answer_or_a_problem(origin: Origin, old: dict[str, str]) -> None:
    origin.go("down")
    try:
        for _ in range(3):
            answer = origin.edge.get(old["kept"])
            assert answer.status_code == 200
            assert (how(answer), answer.json()["n"]) == ("hit; detail=stale-if-error", 1)
            assert int(answer.headers["Age"]) >= 2
        assert origin.edge.get(old["strict"]).status_code == 503
        assert origin.edge.get(old["short"]).status_code == 503
    finally:
        origin.go("up")
    eventually("the next one", lambda: origin.edge.get(old["kept"]).json()["n"], lambda seen: seen >= 2, within=5)


def test_a_missing_origin_leaves_the_stale_answers(origin: Origin, old: dict[str, str]) -> None:
    def shown() -> tuple[int, str]:
        answer = origin.edge.get(old["gone"])
        return answer.status_code, how(answer)

    run("docker", "stop", origin.id)
    try:
        eventually("what is stale", shown, lambda seen: seen == (200, "hit; detail=stale-if-error"), within=10)
        for answer in at_once(20, 20, lambda _: origin.edge.get("/unknown")):
            assert_problem(answer, 503)
            assert answer.elapsed.total_seconds() < 4.0 * TIME_FACTOR  # no request waits for all others
    finally:
        run("docker", "start", origin.id)
    recovered(origin)


def test_no_request_for_a_stale_page_queues_while_the_origin_hangs(origin: Origin, old: dict[str, str]) -> None:
    kept = old["queue"]
    run("docker", "pause", origin.id)
    try:
        for most in (6.0 * TIME_FACTOR, 1.0 * TIME_FACTOR):  # before the edge knows of it: one time-out; and after
            answers = at_once(20, 20, lambda _: origin.edge.get(kept))
            assert {(one.status_code, how(one)) for one in answers} == {(200, "hit; detail=stale-if-error")}
            slowest = max(one.elapsed.total_seconds() for one in answers)
            assert slowest < most, f"{slowest:.2f} s"
        missing = at_once(20, 20, lambda _: origin.edge.get("/unknown"))
        assert {one.status_code for one in missing} == {503}
        slowest = max(one.elapsed.total_seconds() for one in missing)
        assert slowest < 6.0 * TIME_FACTOR, f"{slowest:.2f} s"
    finally:
        run("docker", "unpause", origin.id)
    recovered(origin)
    eventually("the next one", lambda: origin.edge.get(kept).json()["n"], lambda seen: seen >= 2, within=10)


def test_a_tag_purges_the_pages_that_have_it_and_no_others(origin: Origin) -> None:
    tags = {"a": "one two", "b": "two", "c": "three"}
    paths = {name: origin.path(uuid.uuid4().hex, "public, max-age=60", Surrogate_Key=own) for name, own in tags.items()}
    paths["d"] = origin.path(uuid.uuid4().hex, "public, max-age=60")
    paths["e"] = origin.path(uuid.uuid4().hex, "public, max-age=60", Cache_Tag="one, four")

    def numbers() -> dict[str, int]:
        answers = {name: origin.edge.get(path) for name, path in paths.items()}
        print([how(one) for one in answers.values()])  # for the report of a failure
        return {name: one.json()["n"] for name, one in answers.items()}

    assert set(numbers().values()) == {1}
    assert origin.edge.purge("two").status_code == 200
    assert numbers() == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1}
    assert origin.edge.purge("four", "three").status_code == 200
    assert numbers() == {"a": 2, "b": 2, "c": 2, "d": 1, "e": 2}
    assert origin.edge.purge("*").status_code == 200
    assert numbers() == {"a": 3, "b": 3, "c": 3, "d": 2, "e": 3}


# ── the container, and failures ───────────────────────────────────────────────────────────────────
def test_the_edge_runs_with_no_more_rights_than_it_needs(edge: Edge, stack: Stack) -> None:
    one = stack.container(SERVICE)
    config = one.details["HostConfig"]
    assert one.health == "healthy"
    assert one.details["Config"]["User"] == "33:33"
    assert config["ReadonlyRootfs"]
    assert (config["CapDrop"], config["CapAdd"] or []) == (["ALL"], [])
    assert config["Memory"] > 0
    assert set(config["PortBindings"]) == {"8080/tcp"}
    assert stack.run_in(one, "ls", "/run/secrets").split() == ["cdn_purge"]


@pytest.mark.parametrize("setting", ["CDN_MEMORY_MB=much", "CDN_PURGE_SECRET_FILE=/nothing"])
def test_a_bad_value_stops_the_edge_with_one_clear_line(edge: Edge, setting: str) -> None:
    command = ("docker", "compose", "--profile", SERVICE, "run", "--rm", "--no-deps", "--no-TTY", "--env", setting)
    with pytest.raises(CommandError) as refusal:
        run(*command, SERVICE)
    name, _, value = setting.partition("=")
    assert "exit 64" in str(refusal.value)
    lines = str(refusal.value).splitlines()[1:]
    assert len(lines) == 1
    assert name in lines[0]
    assert value in lines[0]


@pytest.mark.failure
def test_the_site_down_leaves_what_the_edge_has_and_the_edge_finds_it_again(
    edge: Edge, stack: Stack, site: Site, product: int
) -> None:
    kept = fresh(f"/api/products/{product}")
    assert edge.get(kept).status_code == 200
    stack.stop(stack.load_balancer)
    try:
        old = eventually(
            "an answer older than its max-age and what may be shown beyond it",
            lambda: edge.get(kept),
            lambda seen: seen.status_code == 200 and "stale-if-error" in how(seen),
            within=MAX_AGE + REVALIDATE + 10,
            interval=1.0,
        )
        assert int(old.headers["Age"]) >= MAX_AGE + REVALIDATE
        assert_problem(edge.get("/"), 503)
    finally:
        restore(stack)
    eventually("the site again", lambda: how(edge.get(fresh(kept))), lambda seen: seen == "fwd=miss", within=15)


@pytest.mark.failure
def test_the_edge_down_costs_the_site_nothing(
    edge: Edge, stack: Stack, site: Site, product: int, staff: Person
) -> None:
    path = f"/api/products/{product}"
    before = site.get(path).json()["price"]
    took = []
    stack.pause(SERVICE)  # it takes connections, and says nothing
    try:
        for number in range(10):
            began = time.monotonic()
            body = {"price": {"amount": 40_000_000 + number, "currency": "EUR"}}
            assert site.request("PATCH", path, json=body, headers=staff.headers).status_code == 200
            took.append(time.monotonic() - began)
        assert max(took) < 1.0 * TIME_FACTOR, took
    finally:
        stack.start(SERVICE)
        site.request("PATCH", path, json={"price": before}, headers=staff.headers)
    eventually(
        "the price at the edge",
        lambda: edge.get(path).json()["price"] == before,
        within=MAX_AGE + REVALIDATE,
        interval=1.0,
    )
