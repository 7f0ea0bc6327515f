"""The settings are read as documented, and a bad value is refused by name."""

import pytest
from watcher.settings import BadSettingError, parse, read


def test_an_empty_environment_gives_the_defaults() -> None:
    wanted = read({})
    assert wanted.method == "least_conn"
    assert wanted.upstreams == {"web": 1}
    assert wanted.hosts == ()
    assert wanted.max_body_bytes == 1048576
    assert wanted.max_in_flight == 32


def test_every_service_has_its_weight() -> None:
    assert read({"LB_UPSTREAMS": "web=9, web-canary=1"}).upstreams == {"web": 9, "web-canary": 1}


def test_hosts_are_lower_case_and_named_once() -> None:
    assert read({"ALLOWED_HOSTS": "Shop.example, .shop.example,shop.example,[::1],"}).hosts == (
        "shop.example",
        ".shop.example",
        "[::1]",
    )


def test_a_star_among_the_hosts_allows_any() -> None:
    assert read({"ALLOWED_HOSTS": "shop.example,*"}).hosts == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LB_METHOD", "fastest"),
        ("MAX_IN_FLIGHT", "0"),
        ("MAX_IN_FLIGHT", "many"),
        ("LB_UPSTREAMS", "web"),
        ("LB_UPSTREAMS", "web=0"),
        ("LB_UPSTREAMS", "web=257"),
        ("LB_UPSTREAMS", "web=1,web=2"),
        ("LB_UPSTREAMS", "web=1,"),
        ("LB_UPSTREAMS", "web;x=1"),
        ("ALLOWED_HOSTS", "a b"),
        ("ALLOWED_HOSTS", "shop.example;"),
        ("ALLOWED_HOSTS", "~.*"),
        ("ALLOWED_HOSTS", "*.example.com"),
        ("MAX_BODY_BYTES", "1m"),
        ("MAX_BODY_BYTES", "0"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TRUSTED_PROXIES", "::/0"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.0/8;"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("CLIENT_ADDRESS", "X-Real-IP"),
        ("HTTPS_ONLY", "yes"),
        ("HTTPS_PORT", "0"),
        ("HTTPS_PORT", "65536"),
        ("HTTPS_PORT", "443;"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadSettingError, match=f"^{name}="):
        read({name: value})


def test_a_value_is_taken_literally_to_the_end_of_its_line() -> None:
    assert parse("LB_METHOD=ip_hash\n\nALLOWED_HOSTS= a=b # c\nno value\n") == {
        "LB_METHOD": "ip_hash",
        "ALLOWED_HOSTS": " a=b # c",
    }
