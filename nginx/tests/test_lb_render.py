"""The rendered files."""

import pytest
from watcher.render import listen_conf, replicas_conf, settings_conf, trusted_conf
from watcher.settings import read


def test_the_same_replicas_in_another_order_render_the_same() -> None:
    one = replicas_conf("least_conn", {"10.0.0.1": 1, "10.0.0.2": 1}, 8000, 32)
    other = replicas_conf("least_conn", {"10.0.0.2": 1, "10.0.0.1": 1}, 8000, 32)
    assert one == other
    assert "server 10.0.0.1:8000 max_fails=0 max_conns=32;" in one


@pytest.mark.parametrize(
    ("method", "directive"),
    [("least_conn", "least_conn;"), ("ip_hash", "hash $client_network consistent;")],
)
def test_the_balancing_method_precedes_keepalive(method: str, directive: str) -> None:
    text = replicas_conf(method, {"10.0.0.1": 1}, 8000, 32)
    assert text.index(directive) < text.index("keepalive ")


def test_weights_are_used_by_the_weighted_method_only() -> None:
    assert "weight=9;" in replicas_conf("weighted", {"10.0.0.1": 9}, 8000, 32)
    assert "weight" not in replicas_conf("round_robin", {"10.0.0.1": 9}, 8000, 32)


def test_requests_with_priority_have_more_connections() -> None:
    text = replicas_conf("round_robin", {"10.0.0.1": 1}, 8000, 5)
    rest, first = text.split("upstream replicas_first {")
    assert "upstream replicas {" in rest
    assert "server 10.0.0.1:8000 max_fails=0 max_conns=5;" in rest
    assert "server 10.0.0.1:8000 max_fails=0 max_conns=8;" in first


def test_without_a_replica_no_replica_is_set() -> None:
    assert "$no_replica { default 1; }" in replicas_conf("least_conn", {}, 8000, 32)
    assert "$no_replica { default 0; }" in replicas_conf("least_conn", {"10.0.0.1": 1}, 8000, 32)


def test_without_allowed_hosts_no_host_is_unknown() -> None:
    assert "default 0;" in settings_conf(read({}))


def test_only_allowed_hosts_are_known() -> None:
    text = settings_conf(read({"ALLOWED_HOSTS": "shop.example,.shop.example", "MAX_BODY_BYTES": "5"}))
    assert "client_max_body_size 5;" in text
    assert "default 1;" in text
    assert "    shop.example 0;\n    .shop.example 0;" in text


@pytest.mark.parametrize(("most", "held"), [("1048576", 32), ("8388608", 4), ("1073741824", 1), ("1", 65535)])
def test_the_held_bodies_fit_their_half_of_the_tmpfs(most: str, held: int) -> None:
    assert f"limit_conn large_bodies {held};" in settings_conf(read({"MAX_BODY_BYTES": most}))


def test_without_trusted_proxies_no_header_sets_the_client_address() -> None:
    text = trusted_conf(read({}), set())
    assert "set_real_ip_from" not in text
    assert text.endswith("geo $realip_remote_addr $trusted_peer {\n    default 0;\n}\n")


def test_the_configured_proxies_and_the_cdn_are_trusted() -> None:
    text = trusted_conf(read({"TRUSTED_PROXIES": "10.1.2.3/8, 2001:db8::/32"}), {"172.18.0.5"})
    for network in ("10.0.0.0/8", "2001:db8::/32", "172.18.0.5"):
        assert f"set_real_ip_from {network};" in text
        assert f"    {network} 1;" in text
    assert text.startswith("real_ip_header X-Forwarded-For;\nreal_ip_recursive on;\n")


def test_behind_the_proxy_protocol_only_its_peers_set_the_client_address() -> None:
    wanted = read({"TRUSTED_PROXIES": "10.0.0.0/8", "CLIENT_ADDRESS": "proxy-protocol"})
    text = trusted_conf(wanted, {"172.18.0.5"})
    assert "real_ip_header proxy_protocol;" in text
    assert "172.18.0.5" not in text
    assert "10.0.0.0/8 1;" not in text
    assert listen_conf(wanted).count(" proxy_protocol;") == 2
    assert "proxy_protocol" not in listen_conf(read({}))
