"""The client's address: from a trusted proxy's header, read from the right; else the peer's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.edge import in_front_of
from support.mirror import Mirror, mirror
from support.services import PASSWORD, Services, fresh_email, leftovers, register
from support.stack import CommandError, Stack, run


@pytest.fixture(scope="module")
def shared(stack: Stack) -> Iterator[Mirror]:
    """One for all tests."""
    with mirror(stack) as found:
        yield found


@pytest.fixture
def front(shared: Mirror) -> Mirror:
    """The same, with the demo's settings."""
    if shared.applied:
        shared.set()
    return shared


def forwarded(*values: str) -> list[str]:
    """Return curl's options for these lines of X-Forwarded-For."""
    return [word for value in values for word in ("--header", f"X-Forwarded-For: {value}")]


LIES = (
    "--header", "X-Forwarded-For: 203.0.113.66", "--header", "X-Real-IP: 203.0.113.66",
    "--header", "Forwarded: for=203.0.113.66",
    "--header", "CF-Connecting-IP: 203.0.113.66", "--header", "True-Client-IP: 203.0.113.66",
    "--header", "X-Forwarded-Proto: https",
)  # fmt: skip


def test_forwarding_headers_of_an_untrusted_client_are_overwritten(front: Mirror) -> None:
    sent = front.sent("other", *LIES)
    own = front.addresses["other"]
    assert (sent["x-real-ip"], sent["x-forwarded-for"], sent["x-forwarded-proto"]) == (own, own, "http")
    assert "203.0.113.66" not in str(sent)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (("203.0.113.7",), "203.0.113.7"),
        (("203.0.113.66, 203.0.113.7",), "203.0.113.7"),
        (("203.0.113.66", "203.0.113.7"), "203.0.113.7"),
        (("203.0.113.66, 2001:db8::7",), "2001:db8::7"),
    ],
)
def test_callers_behind_the_cdn_keep_their_own_address(front: Mirror, lines: tuple[str, ...], address: str) -> None:
    sent = front.sent("cdn", *forwarded(*lines), "--header", "X-Forwarded-Proto: https")
    assert (sent["x-real-ip"], sent["x-forwarded-for"], sent["x-forwarded-proto"]) == (address, address, "https")


def test_the_first_request_after_a_reload_keeps_its_address(front: Mirror, stack: Stack) -> None:
    # HAProxy's new process takes the addresses over; nginx's watcher stays, and its reload is slow.
    for _ in range(8 if stack.load_balancer == "haproxy" else 2):
        front.set()
        assert front.sent("cdn", *forwarded("203.0.113.7"))["x-real-ip"] == "203.0.113.7"


@pytest.mark.parametrize("lines", [("garbage",), ("203.0.113.66, garbage",), ()])
def test_a_proxy_without_the_header_is_the_client_itself(front: Mirror, lines: tuple[str, ...]) -> None:
    assert front.sent("cdn", *forwarded(*lines))["x-real-ip"] == front.addresses["cdn"]


def test_a_chain_is_read_from_the_right_up_to_the_first_address_that_is_not_trusted(shared: Mirror) -> None:
    shared.set(TRUSTED_PROXIES=f"{shared.addresses['other']}, 198.51.100.0/24, 2001:db8::/32")
    for lines, address in (
        (("203.0.113.66, 203.0.113.7, 198.51.100.1, 198.51.100.2",), "203.0.113.7"),
        (("203.0.113.66, 203.0.113.7", "2001:db8::1"), "203.0.113.7"),
        (("203.0.113.66, garbage, 198.51.100.2",), "198.51.100.2"),
        (("198.51.100.9",), "198.51.100.9"),
    ):
        assert shared.sent("other", *forwarded(*lines))["x-real-ip"] == address


def test_cloudflares_header_is_used_only_with_its_setting(shared: Mirror) -> None:
    shared.set(TRUSTED_PROXIES=shared.addresses["other"], CLIENT_ADDRESS="cf-connecting-ip")
    said = ["--header", "CF-Connecting-IP: 203.0.113.9", *forwarded("203.0.113.66")]
    sent = shared.sent("other", *said)
    assert (sent["x-real-ip"], sent.get("cf-connecting-ip", "")) == ("203.0.113.9", "")
    shared.set(CLIENT_ADDRESS="cf-connecting-ip")
    assert shared.sent("other", *said)["x-real-ip"] == shared.addresses["other"]


def test_the_proxy_protocol_of_a_trusted_balancer_names_the_caller(shared: Mirror) -> None:
    shared.set(TRUSTED_PROXIES=shared.addresses["other"], CLIENT_ADDRESS="proxy-protocol")
    proxied = ("--haproxy-protocol", "--haproxy-clientip", "203.0.113.11")
    sent = shared.sent("other", *proxied, *forwarded("203.0.113.66"), "--header", "X-Forwarded-Proto: https")
    assert (sent["x-real-ip"], sent["x-forwarded-for"], sent["x-forwarded-proto"]) == (*["203.0.113.11"] * 2, "http")
    assert shared.curl("other", check=False) == ""  # without it the trusted balancer says nothing
    # A caller that is not trusted cannot say who it is.
    said = shared.curl("cdn", *proxied, check=False)
    assert "203.0.113.11" not in said


@pytest.mark.parametrize("network", ["0.0.0.0/0", "proxy.example", "198.51.100.0/33"])
def test_a_bad_network_is_refused_and_the_old_ones_stay(front: Mirror, network: str) -> None:
    with pytest.raises(CommandError, match=r"TRUSTED_PROXIES|trusted"):
        front.set(TRUSTED_PROXIES=network)
    assert front.sent("other", *LIES)["x-real-ip"] == front.addresses["other"]


def test_no_port_is_published_to_ipv6_whose_callers_would_share_an_address(stack: Stack) -> None:
    bindings = stack.container(stack.load_balancer).details["NetworkSettings"]["Ports"]
    hosts = {one["HostIp"] for published in bindings.values() for one in published or []}
    assert hosts == {"0.0.0.0"}  # noqa: S104 - what is published


# Almost as many guesses as an address has a minute, and then more until one is refused.
GUESS = """
ask() {
  curl -s -o /dev/null -w '%{http_code}\\n' -H 'Content-Type: application/json' \\
    -d "{\\"email\\": \\"$1\\", \\"password\\": \\"guess\\"}" http://cdn.edge:8080/api/users/token
}
export -f ask
seq 95 | xargs -P 4 -I {} bash -c "ask {}-$1"
for number in {96..150}; do
  status=$(ask "$number-$1")
  echo "$status"
  [[ $status != 429 ]] || break
done
"""


def test_a_guesser_behind_the_cdn_locks_out_only_itself(stack: Stack, services: Services) -> None:
    who = register(services)
    tools = f"{stack.project}-tools"
    log_in = (
        "curl -s -o /dev/null -w '%{http_code}\\n' -H 'Content-Type: application/json'"
        f' -d \'{{"email": "{who.email}", "password": "{PASSWORD}"}}\' http://cdn.edge:8080/api/users/token'
    )
    network = f"{stack.project}_closed_edge"
    common = ("docker", "run", "--rm", "--network", network, tools, "bash", "-c")
    try:
        with in_front_of(stack):
            # Two containers: the CDN sees two addresses, the load balancer sees one, the CDN's.
            assert run(*common, GUESS, "-", fresh_email()).split()[-1] == "429"
            first = run("docker", "run", "--rm", "--detach", "--network", network, tools, "sleep", "60")
            try:  # the container before has gone, and the next would get its address
                assert run(*common, log_in).split() == ["200"]
            finally:
                run("docker", "rm", "--force", first.split()[-1])
    finally:
        leftovers(services, [who])
