"""Purges are sent outside of the request, twice, and cost nothing while the edge is down."""

from __future__ import annotations

import logging
import os
import select
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.cdn import metrics, purging
from scaleout.cdn.purging import BATCH, MOST, Edge, Purger
from scaleout.cdn.tags import EVERYTHING, MOST_BYTES, written
from scaleout.cdn.tests.edge import SECRET, FakeEdge, certify


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


def test_a_tag_is_purged_at_once_and_again_when_nothing_old_is_on_its_way(
    edge: FakeEdge, purgers: list[Purger]
) -> None:
    purgers.append(Purger(Edge(edge.url, SECRET), again=1.0))
    began = time.monotonic()
    purgers[0].purge(["product:7", "featured"])
    eventually(lambda: len(edge.heard) == 2, what="both purges")
    assert edge.times[1] - began >= 1.0
    assert edge.heard == [{"product:7", "featured"}] * 2
    purgers.append(Purger(Edge(edge.url, SECRET), again=600.0))  # what is heard of this one is the first purge
    purgers[1].purge(["product:8"])
    eventually(lambda: len(edge.heard) == 3, what="purge at once")
    purgers[1].end(3, hurried=True)


def test_many_changes_at_once_are_few_requests(
    edge: FakeEdge, purgers: list[Purger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "TIMEOUT", 600.0)
    purgers.append(Purger(Edge(edge.url, SECRET), again=60.0))  # the second time is not what is counted here
    edge.seconds = 600.0
    for number in range(1000):  # all while the edge is busy with the first
        purgers[0].purge([f"product:{number}"])
    edge.stopped.set()  # it answers now
    eventually(lambda: len(edge.all()) == 1000, what="1,000 tags")
    assert len(edge.heard) <= 3 + 1000 // BATCH
    assert max(map(len, edge.heard)) <= BATCH
    purgers[0].end(3, hurried=True)


def test_long_tags_go_in_as_many_requests_as_an_edge_takes_of_them(
    edge: FakeEdge, request: pytest.FixtureRequest
) -> None:
    target = Edge(edge.url, SECRET)
    request.addfinalizer(target.close)
    every = {f"{number:03}{'x' * 97}" for number in range(150)} | {"y" * (MOST_BYTES + 1)}
    target.purge(every)
    assert edge.all() == every
    assert max(len(" ".join(one)) for one in edge.heard if len(one) > 1) <= MOST_BYTES


def test_more_tags_than_are_worth_telling_are_everything(edge: FakeEdge, purger: Purger) -> None:
    purger.purge(f"product:{number}" for number in range(MOST + 1))
    eventually(lambda: bool(edge.heard), what="purge")
    assert edge.heard[0] == {EVERYTHING}


def test_who_purges_never_waits_for_an_edge_that_hangs(
    edge: FakeEdge, purger: Purger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "TIMEOUT", 600.0)
    edge.seconds = 600.0
    with in_time():
        for number in range(100):
            purger.purge([f"product:{number}"])
    assert edge.heard == []
    edge.stopped.set()  # it answers now, and holds up the end of the test no more


def test_an_edge_that_is_down_is_tried_seldom_and_logged_once(
    edge: FakeEdge, purger: Purger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scaleout.cdn")
    edge.close()
    before, began = metrics.purges.labels("failed")._value.get(), time.monotonic()

    def failed() -> float:
        return float(metrics.purges.labels("failed")._value.get() - before)

    for _ in range(50):
        purger.purge(["one"])
        time.sleep(0.01)  # half a second of changes, in which the purger's tries are counted
    eventually(lambda: failed() >= 1, what="a try")
    assert failed() <= 2 + (time.monotonic() - began) / 0.2  # the pause of this purger
    assert len(caplog.records) == 1, caplog.text


def test_an_edge_that_was_away_for_a_moment_hears_what_it_has_missed(edge: FakeEdge, purger: Purger) -> None:
    edge.status = 503
    purger.purge(["missed"])
    eventually(lambda: bool(edge.heard), what="failure")
    edge.status, edge.heard = 200, []
    eventually(lambda: edge.heard == [{"missed"}], what="second purge")


def test_an_answer_that_is_no_200_is_a_failure(edge: FakeEdge, purger: Purger) -> None:
    edge.status = 403
    before = metrics.purges.labels("failed")._value.get()
    purger.purge(["one"])
    eventually(lambda: metrics.purges.labels("failed")._value.get() > before, what="failure")


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


def test_a_trusted_edge_is_purged_over_tls(
    safe: FakeEdge, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(safe.certificate))
    target = Edge(safe.url, SECRET)
    request.addfinalizer(target.close)
    target.purge(["one"])
    assert select.select([target._connection.sock], [], [], 5)[0]  # the edge closes it
    target.purge(["two"])
    assert safe.heard == [{"one"}, {"two"}]


def test_an_edge_with_an_unknown_certificate_gets_no_tags_and_no_secret(safe: FakeEdge) -> None:
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


def test_at_the_end_of_a_process_the_backlog_is_sent_when_it_is_due(edge: FakeEdge, purger: Purger) -> None:
    purger.purge(["one"])
    purger.end(3)
    assert edge.heard == [{"one"}] * 2
    assert edge.times[1] - edge.times[0] > 0.4
    assert not [one for one in threading.enumerate() if one is purger._thread]


def test_where_the_edge_is_away_the_end_waits_for_nothing(edge: FakeEdge, purgers: list[Purger]) -> None:
    edge.close()
    purgers.append(Purger(Edge(edge.url, SECRET), again=30.0))
    purgers[0].purge(["one"])
    with in_time():
        purgers[0].end(60 * TIME_FACTOR)


PROCESS = """
import functools, signal, sys
from django.conf import settings
kind, url, secret = sys.argv[1:]
settings.configure(CDN={"PURGE_URL": url, "PURGE_SECRET": secret})
from scaleout.cdn import purging
purging.Purger = functools.partial(purging.Purger, again=2.0)
if kind == "server":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
purging.purge("one")
if kind == "server":
    signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize(("kind", "waits"), [("command", True), ("server", False)])
def test_a_command_waits_for_the_second_purge_and_a_server_that_gets_sigterm_does_not(
    edge: FakeEdge, kind: str, waits: bool
) -> None:
    app = Path(purging.__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", PROCESS, kind, edge.url, SECRET], cwd=app, timeout=30 * TIME_FACTOR, check=True
    )
    assert edge.all() == {"one"}
    assert (edge.times[-1] - edge.times[0] > 1.8) is waits


def test_a_child_process_tells_by_a_thread_of_its_own(edge: FakeEdge, settings: Settings) -> None:
    settings.CDN = {"PURGE_URL": edge.url, "PURGE_SECRET": SECRET}
    purging.purge("parent")
    eventually(lambda: bool(edge.heard), what="purge")
    child = os.fork()
    if child == 0:
        purging.purge("child")
        assert purging._current.made is not None
        purging.end(hurried=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert {"child"} in edge.heard
    purging.end(hurried=True)
    purging._current.forget()  # for the next test


URL = "https://Shop.example:8443/api/products/7?x=%C3%A4"
WRITTEN = "//shop.example:8443/api/products/7?x=%C3%A4"  # a host's name is the same in capitals


def test_a_url_is_purged_by_its_host_and_path_beside_tags(edge: FakeEdge, settings: Settings) -> None:
    settings.CDN = {"PURGE_URL": edge.url, "PURGE_SECRET": SECRET}
    purging.purge_urls(URL, "http://shop.example")
    purging.purge("one")
    eventually(lambda: edge.all() == {WRITTEN, "//shop.example/", "one"}, what="purges")
    purging.end(hurried=True)
    purging._current.forget()  # for the next test


@pytest.mark.parametrize(
    "odd", ["", "/x", "shop.example/x", "ftp://a/x", "https://", "https://a b/", "https://a/\r\nX: 1"]
)
def test_what_is_no_address_is_refused(odd: str, settings: Settings) -> None:
    settings.CDN = {"PURGE_URL": "http://edge.example", "PURGE_SECRET": SECRET}
    with pytest.raises(ValueError, match="not a URL"):
        purging.purge_urls(odd)
    with pytest.raises(CommandError, match="not a URL"):
        call_command("purge", odd)


def test_the_command_purges_urls_and_tags_twice(
    edge: FakeEdge, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.CDN = {"PURGE_URL": edge.url, "PURGE_SECRET": SECRET}
    monkeypatch.setattr(purging, "AGAIN", 0.1)
    call_command("purge", URL, "--tag", "product:7", "--tag", "*")
    assert edge.heard == [{"product:7", "*"}, {WRITTEN}] * 2
    assert capsys.readouterr().out == "purged 3\n"


@pytest.mark.parametrize("wrong", ["status", "url", "nothing"])
def test_the_command_says_so_if_nothing_was_purged(edge: FakeEdge, settings: Settings, wrong: str) -> None:
    settings.CDN = {"PURGE_URL": "" if wrong == "url" else edge.url, "PURGE_SECRET": SECRET}
    edge.status = 403
    with pytest.raises(CommandError):
        call_command("purge", *([] if wrong == "nothing" else [URL]))


def test_without_an_edge_no_purge_is_sent(settings: Settings) -> None:
    settings.CDN = {}
    purging.purge("one")
    assert purging._current.made is None


@pytest.mark.parametrize("odd", ["a b", "a,b", "-a", "*", "=a:b", "ä", "a" * 101, "a\r\nX: 1", ""])
def test_a_tag_that_could_be_misread_in_a_header_stands_there_as_its_digest(odd: str) -> None:
    assert written(odd).isascii()
    assert written(odd).startswith("-")
    assert not set(written(odd)) & set(" ,\r\n*")
    assert len({written(odd), written(odd + "x"), written("product:7")}) == 3
    assert written("product:7") == "product:7"
