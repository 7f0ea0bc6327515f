"""Browser policies on every answer, the redirect to https, and the allowed ciphers."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping

import pytest
from support.client import BROWSER, Site
from support.mirror import Mirror, mirror
from support.stack import Stack

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"


def assert_guarded(headers: Mapping[str, str], policy: str = POLICY) -> None:
    """Check the three headers."""
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Permissions-Policy"] == PERMISSIONS
    assert headers["Content-Security-Policy"] == policy


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health/", 200),
        ("/health/live", 200),
        ("/counter/", 200),
        ("/api/products/?limit=1", 200),
        ("/api/products/999999999999", 404),
        ("/metrics", 404),
        ("/media/incoming/1/" + "0" * 32, 405),
    ],
)
def test_every_answer_says_what_a_browser_may_do_with_it(site: Site, path: str, status: int) -> None:
    answer = site.get(path)
    assert answer.status_code == status
    assert_guarded(answer.headers)
    assert "Strict-Transport-Security" not in answer.headers


def test_a_page_loads_what_it_needs_and_an_error_of_the_load_balancer_its_own_style(site: Site, product: int) -> None:
    for path in ("/", f"/products/{product}/", "/nothing/"):
        policy = site.get(path, headers={"Accept": BROWSER}).headers["Content-Security-Policy"]
        assert "script-src 'self'; style-src 'self';" in policy
        assert "'unsafe-inline'" not in policy
    assert_guarded(site.get("/metrics", headers={"Accept": BROWSER}).headers)


def test_another_site_changes_nothing_and_a_program_does(site: Site) -> None:
    before = site.get("/counter/").json()["count"]
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert site.post("/counter/", headers=headers).status_code == 403
    assert site.get("/session/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert site.post("/counter/", headers={"Origin": site.url}).json()["count"] > before
    assert site.post("/counter/").status_code == 200


# ── https ─────────────────────────────────────────────────────────────────────────────────────────
def handshake(site: Site, ciphers: str) -> str:
    """Return the negotiated cipher of TLS 1.2; "" without a common one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    try:
        with site.connect() as plain, context.wrap_socket(plain) as connection:
            return (connection.cipher() or ("",))[0]
    except ssl.SSLError:
        return ""


@pytest.mark.parametrize(
    "ciphers",
    ["ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384", "AES128-GCM-SHA256", "AES128-SHA", "CAMELLIA", "ARIA"],
)
def test_no_cipher_without_forward_secrecy_and_authentication_is_taken(stack: Stack, ciphers: str) -> None:
    port = stack.published(stack.load_balancer, 8443)
    assert handshake(Site(port), ciphers) == ""
    assert handshake(Site(port), f"{ciphers}:ECDHE+AESGCM").startswith("ECDHE-")


@pytest.fixture(scope="module")
def front(stack: Stack) -> Iterator[Mirror]:
    """A load balancer that serves by https only."""
    with mirror(stack) as found:
        found.set(HTTPS_ONLY="1", HTTPS_PORT="9443", ALLOWED_HOSTS="balancer")
        yield found


def head(front: Mirror, caller: str, url: str, *options: str) -> tuple[int, dict[str, str]]:
    """Return the status and the headers, with names in lower case."""
    written = "%{http_code}\n%{header_json}"
    output = front.curl(caller, "--insecure", "--output", "/dev/null", "--write-out", written, *options, url=url)
    status, _, headers = output.partition("\n")
    return int(status), {name.lower(): values[0] for name, values in json.loads(headers).items()}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("path", ["/a%2fb?c=d&e", "/static/x.css", "/media/products/" + "0" * 32 + ".webp"])
def test_http_is_redirected_and_browsers_remember_it(front: Mirror, method: str, path: str) -> None:
    status, headers = head(front, "other", f"http://balancer:8080{path}", "--request", method)
    assert (status, headers["location"]) == (308, f"https://balancer:9443{path}")
    assert (headers["x-content-type-options"], headers["permissions-policy"]) == ("nosniff", PERMISSIONS)
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "strict-transport-security" not in headers  # by http it would mean nothing


def test_every_answer_by_https_says_so_errors_too(front: Mirror) -> None:
    for path, expected in (("/", 200), ("/metrics", 404)):
        status, headers = head(front, "other", f"https://balancer:8443{path}")
        assert (status, headers["strict-transport-security"]) == (expected, "max-age=63072000")


def test_an_unknown_host_is_refused_and_redirected_nowhere(front: Mirror) -> None:
    status, headers = head(front, "other", "http://balancer:8080/", "--header", "Host: evil.example")
    assert (status, headers.get("location")) == (421, None)


def test_only_a_trusted_proxy_sets_the_scheme_to_https(front: Mirror) -> None:
    said = ("--header", "X-Forwarded-Proto: https")
    status, headers = head(front, "cdn", "http://balancer:8080/", *said)
    assert (status, headers["strict-transport-security"]) == (200, "max-age=63072000")
    assert head(front, "other", "http://balancer:8080/", *said)[0] == 308
