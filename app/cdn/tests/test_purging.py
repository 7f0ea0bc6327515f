"""Purges go out of the request, twice, and cost nothing where nobody takes them."""

from __future__ import annotations

import logging
import os
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from cdn import metrics, purging
from cdn.purging import BATCH, MOST, Edge, Purger
from cdn.tags import EVERYTHING, written
from cdn.tests.edge import SECRET, FakeEdge, certify


@pytest.fixture
def edge() -> Iterator[FakeEdge]:
    edge = FakeEdge()
    yield edge
    edge.close()


@pytest.fixture
def purgers() -> Iterator[list[Purger]]:
    made: list[Purger] = []
    yield made
    for one in made:
        one.end(3)


@pytest.fixture
def purger(edge: FakeEdge, purgers: list[Purger]) -> Purger:
    purgers.append(Purger(Edge(edge.url, SECRET), again=0.5, pause=0.2))
    return purgers[0]


def soon(what: str, check: Callable[[], bool], within: float = 5.0) -> None:
    until = time.monotonic() + within
    while not check():
        assert time.monotonic() < until, f"no {what} within {within} s"
        time.sleep(0.01)  # between two looks; the deadline is above


def test_a_tag_is_purged_at_once_and_again_when_nothing_old_is_on_its_way(edge: FakeEdge, purger: Purger) -> None:
    began = time.monotonic()
    purger.purge(["product:7", "featured"])
    soon("purge", lambda: len(edge.heard) == 1)
    assert time.monotonic() - began < 0.4
    soon("second purge", lambda: len(edge.heard) == 2)
    assert time.monotonic() - began >= 0.5
    assert edge.heard == [{"product:7", "featured"}] * 2


def test_many_changes_at_once_are_few_requests(edge: FakeEdge, purger: Purger) -> None:
    edge.seconds = 0.1
    for number in range(1000):
        purger.purge([f"product:{number}"])
    soon("1,000 tags", lambda: len(edge.all()) == 1000)
    assert len(edge.heard) <= 3 + 1000 // BATCH
    assert max(map(len, edge.heard)) <= BATCH


def test_more_tags_than_are_worth_telling_are_everything(edge: FakeEdge, purger: Purger) -> None:
    purger.purge(f"product:{number}" for number in range(MOST + 1))
    soon("purge", lambda: bool(edge.heard))
    assert edge.heard[0] == {EVERYTHING}


def test_who_purges_never_waits_for_an_edge_that_hangs(edge: FakeEdge, purger: Purger) -> None:
    edge.seconds = 30.0
    began = time.monotonic()
    for number in range(100):
        purger.purge([f"product:{number}"])
    assert time.monotonic() - began < 0.1


def test_an_edge_that_is_away_is_tried_seldom_and_told_of_once_in_the_log(
    edge: FakeEdge, purger: Purger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cdn")
    edge.close()
    failed = metrics.purges.labels("failed")._value.get()
    for _ in range(50):
        purger.purge(["one"])
        time.sleep(0.01)  # changes for half a second: how often the edge is tried meanwhile is what is tested
    assert 1 <= metrics.purges.labels("failed")._value.get() - failed <= 4
    assert len(caplog.records) == 1, caplog.text


def test_an_edge_that_was_away_for_a_moment_hears_what_it_has_missed(edge: FakeEdge, purger: Purger) -> None:
    edge.status = 503
    purger.purge(["missed"])
    soon("failure", lambda: bool(edge.heard))
    edge.status, edge.heard = 200, []
    soon("second purge", lambda: edge.heard == [{"missed"}])


def test_an_answer_that_is_no_200_is_a_failure(edge: FakeEdge, purger: Purger) -> None:
    edge.status = 403
    before = metrics.purges.labels("failed")._value.get()
    purger.purge(["one"])
    soon("failure", lambda: metrics.purges.labels("failed")._value.get() > before)


def test_an_idle_connection_that_the_edge_has_closed_loses_no_purge(
    edge: FakeEdge, request: pytest.FixtureRequest
) -> None:
    target = Edge(edge.url, SECRET)
    request.addfinalizer(target.close)
    target.purge(["one"])
    port = int(edge.url.rpartition(":")[2])
    assert target._connection.sock.getpeername()[1] == port
    target._connection.sock.shutdown(2)  # what a closed connection is to the next request
    target.purge(["two"])
    assert edge.heard == [{"one"}, {"two"}]


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[FakeEdge]:
    """An edge that speaks TLS, and closes what is idle."""
    edge = FakeEdge(certificate=certify(tmp_path / "edge.pem"), patience=0.2)
    yield edge
    edge.close()


def test_an_edge_with_a_certificate_that_is_trusted_is_told_by_tls(
    safe: FakeEdge, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(safe.certificate))
    target = Edge(safe.url, SECRET)
    request.addfinalizer(target.close)
    target.purge(["one"])
    assert select.select([target._connection.sock], [], [], 5)[0]  # the edge closes it
    target.purge(["two"])
    assert safe.heard == [{"one"}, {"two"}]


def test_an_edge_with_a_certificate_of_nobody_learns_nothing(safe: FakeEdge) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Edge(safe.url, SECRET).purge(["one"])
    assert (safe.heard, safe.refused) == ([], [])


def test_an_edge_that_should_speak_tls_and_does_not_learns_nothing(edge: FakeEdge) -> None:
    with pytest.raises(ssl.SSLError):
        Edge(edge.url.replace("http:", "https:"), SECRET).purge(["one"])
    assert (edge.heard, edge.refused) == ([], [])


@pytest.mark.parametrize(("url", "port"), [("http://edge.example", 80), ("https://edge.example", 443)])
def test_an_address_without_a_port_means_that_of_its_scheme(url: str, port: int) -> None:
    assert Edge(url, SECRET)._connection.port == port


def test_what_waits_at_the_end_of_a_process_is_told(edge: FakeEdge, purger: Purger) -> None:
    purger.purge(["one"])
    soon("purge", lambda: len(edge.heard) == 1)
    purger.end(3)
    assert len(edge.heard) == 2
    assert not [one for one in threading.enumerate() if one is purger._thread]


def test_a_child_process_tells_by_a_thread_of_its_own(edge: FakeEdge, settings: Settings) -> None:
    settings.CDN_PURGE_URL, settings.CDN_PURGE_SECRET = edge.url, SECRET
    purging.purge("parent")
    soon("purge", lambda: bool(edge.heard))
    child = os.fork()
    if child == 0:
        purging.purge("child")
        assert purging._current is not None
        purging._current.end(3)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert {"child"} in edge.heard
    assert purging._current is not None
    purging._current.end(3)
    purging._renew()  # for the next test


def test_nobody_is_told_where_nobody_is_named(settings: Settings) -> None:
    settings.CDN_PURGE_URL = ""
    purging.purge("one")
    assert purging._current is None


@pytest.mark.parametrize("odd", ["a b", "a,b", "-a", "*", "=a:b", "ä", "a" * 101, "a\r\nX: 1", ""])
def test_a_tag_that_could_be_misread_in_a_header_stands_there_as_its_digest(odd: str) -> None:
    assert written(odd).isascii()
    assert written(odd).startswith("-")
    assert not set(written(odd)) & set(" ,\r\n*")
    assert len({written(odd), written(odd + "x"), written("product:7")}) == 3
    assert written("product:7") == "product:7"
