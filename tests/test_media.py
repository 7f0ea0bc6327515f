"""Product images: in the store, public through the load balancer, and no file on a replica."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from support.client import BROWSER, Site, assert_problem, read_answer, status_of
from support.images import image, opened, presigned, send
from support.services import Person
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

VARIANTS = 20.0  # seconds until a worker has made them
PATH = re.compile(r"/media/products/[0-9a-f]{32}\.webp")


@pytest.fixture
def article(site: Site, staff: Person) -> Iterator[int]:
    """A product of this test, deleted afterwards."""
    category = site.get("/api/products/?limit=1").json()["items"][0]["category"]["slug"]
    body = {"sku": f"MEDIA-{secrets.token_hex(8)}", "name": "Pictured", "category": category, "price": {"amount": 100}}
    made = site.post("/api/products/", json=body, headers=staff.headers)
    assert made.status_code == 201, made.text
    key = int(made.json()["id"])
    yield key
    site.request("DELETE", f"/api/products/{key}", headers=staff.headers)


def page_of(site: Site, product: int) -> str:
    """Return the product's page."""
    answer = site.get(f"/products/{product}/", headers={"Accept": BROWSER})
    assert answer.status_code == 200
    return answer.text


def variants(page: str, path: str) -> list[str]:
    """Return the URLs in the page's `srcset` of the image at `path`."""
    found = re.search(rf'src="{re.escape(path)}" srcset="([^"]+)"', page)
    return [part.split()[0] for part in found[1].split(", ")] if found else []


def assert_image(site: Site, path: str, width: int) -> None:
    """Assert that the image of this width is public and immutable."""
    answer = site.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:200]}"
    assert opened(answer.content).width == width
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "Set-Cookie" not in answer.headers
    assert not [name for name in answer.headers if re.search("trans-id|openstack|amz|timestamp", name, re.IGNORECASE)]


def test_an_image_that_staff_send_is_on_the_page_at_once_and_its_variants_soon(
    site: Site, staff: Person, article: int
) -> None:
    answer = send(site, article, image(size=(1300, 900)), staff)
    assert answer.status_code == 200, answer.text
    path = answer.json()["image_url"]
    assert PATH.fullmatch(path)
    eventually("the page with the image", lambda: page_of(site, article), lambda page: path in page, within=5)
    assert site.get(f"/api/products/{article}").json() == answer.json()
    assert_image(site, path, 1300)
    found = eventually("variants on the page", lambda: variants(page_of(site, article), path), within=VARIANTS)
    for address, width in zip(found, (320, 640, 1280, 1300), strict=True):
        assert_image(site, address, width)


def test_another_image_takes_the_place_of_the_first_on_every_replica(site: Site, staff: Person, article: int) -> None:
    first = send(site, article, image("PNG", (300, 200)), staff).json()["image_url"]
    second = send(site, article, image("WEBP", (300, 200)), staff).json()["image_url"]
    assert first != second
    eventually(
        "the new image and not the first on every replica",
        lambda: [page_of(site, article) for _ in range(12)],
        lambda pages: all(second in page and first not in page for page in pages),
        within=5,
    )
    assert_image(site, first, 300)  # who has the page open still finds it


def test_an_image_is_revalidated_with_its_etag(site: Site, staff: Person, article: int) -> None:
    path = send(site, article, image(size=(300, 200)), staff).json()["image_url"]
    answer = site.get(path)
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.headers["ETag"])
    again = site.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = site.get(path, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    head = site.request("HEAD", path)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(answer.content)))


def test_an_error_of_the_store_is_a_problem_that_no_cache_keeps(site: Site, staff: Person, article: int) -> None:
    path = send(site, article, image(size=(300, 200)), staff).json()["image_url"]
    for beyond in ("bytes=99999999-", "bytes=99999998-99999999"):
        answer = site.get(path, headers={"Range": beyond})
        assert_problem(answer, 416)
        assert answer.headers["Cache-Control"] == "no-store"
        page = site.get(path, headers={"Range": beyond, "Accept": BROWSER})
        assert (page.status_code, page.headers["Cache-Control"]) == (416, "no-store")
    # What else Swift would look at does not reach it, so that both load balancers answer the same.
    for name, value in (("If-Match", '"bogus"'), ("If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT")):
        assert site.get(path, headers={name: value}).status_code == 200, name


def test_a_presigned_upload_accepts_its_host_in_capitals_and_no_header_of_the_store(
    site: Site, staff: Person, article: int
) -> None:
    data = image(size=(300, 200))
    announced = {"content_type": "image/jpeg", "size": len(data)}
    named = staff.headers | {"Host": f"LocalHost:{site.port}"}
    upload = site.post(f"/api/products/{article}/image-upload", json=announced, headers=named).json()
    assert upload["url"].startswith(f"http://localhost:{site.port}/media/incoming/")
    for name, value in (("Host", f"LOCALHOST:{site.port}"), ("X-Copy-From", "/media/x"), ("X-Delete-At", "1"),
                        ("X-Object-Manifest", "media/x"), ("If-Match", '"bogus"'), ("ETag", "0" * 32)):  # fmt: skip
        put = site.request("PUT", upload["url"], data=data, headers=upload["headers"] | {name: value})
        assert put.status_code == 200, f"{name}: {put.status_code} {put.text[:200]}"
    taken = site.post(f"/api/products/{article}/image-upload/{upload['token']}", headers=staff.headers)
    assert taken.status_code == 200, taken.text
    assert_image(site, taken.json()["image_url"], 300)


def test_only_staff_may(site: Site, person: Callable[[], Person], article: int) -> None:
    assert_problem(send(site, article, image(), None), 401)
    stranger = person()
    assert_problem(send(site, article, image(), stranger), 403)
    assert_problem(presigned(site, article, stranger, content_type="image/png", size=5), 403)
    confirmed = site.post(f"/api/products/{article}/image-upload/{'0' * 32}", headers=stranger.headers)
    assert_problem(confirmed, 403)
    assert site.get(f"/api/products/{article}").json()["image_url"] == ""


@pytest.mark.parametrize(
    ("status", "data"),
    [(415, b"<html>"), (415, b"GIF89a"), (422, image()[:-1000]), (422, image() + b"PK\x03\x04archive")],
    ids=["a page", "a GIF", "half an image", "with an archive behind it"],
)
def test_a_file_that_is_not_an_image_is_a_problem(
    site: Site, staff: Person, article: int, status: int, data: bytes
) -> None:
    assert_problem(send(site, article, data, staff), status)
    assert site.get(f"/api/products/{article}").json()["image_url"] == ""


def test_an_image_that_is_too_large_for_the_api_goes_by_the_browsers_own_upload(
    site: Site, staff: Person, article: int
) -> None:
    large = image("PNG", (800, 600), compress_level=0)
    assert len(large) > 1_100_000
    assert_problem(send(site, article, large, staff), 413)

    upload = presigned(site, article, staff, content_type="image/png", size=len(large)).json()
    assert upload["url"].startswith(f"{site.url}/media/incoming/{article}/")
    put = site.request(upload["method"], upload["url"], data=large, headers=upload["headers"])
    assert put.status_code == 200, put.text
    assert_problem(site.get(urlsplit(upload["url"]).path), 405)  # an upload cannot be read there

    path = f"/api/products/{article}/image-upload/{upload['token']}"
    taken = site.post(path, headers=staff.headers)
    assert taken.status_code == 200, taken.text
    assert_image(site, taken.json()["image_url"], 800)
    eventually("the upload to be gone", lambda: site.post(path, headers=staff.headers).status_code == 404, within=5)


def test_a_presigned_upload_accepts_only_the_announced_file(site: Site, staff: Person, article: int) -> None:
    data = image(size=(300, 200))
    upload = presigned(site, article, staff, content_type="image/jpeg", size=len(data)).json()
    url, headers = upload["url"], upload["headers"]
    elsewhere = url.replace(upload["token"], "0" * 32)
    unsigned = url.partition("?")[0]
    refused = {
        "longer": site.request("PUT", url, data=data + b"x", headers=headers),
        "another type": site.request("PUT", url, data=data, headers={"Content-Type": "text/html"}),
        "elsewhere": site.request("PUT", elsewhere, data=data, headers=headers),
        "unsigned": site.request("PUT", unsigned, data=data, headers=headers),
        "another host": site.request("PUT", url, data=data, headers=headers | {"Host": "evil.example"}),
        "for longer": site.request("PUT", url.replace("Expires=300", "Expires=9999"), data=data, headers=headers),
    }
    for what, answer in refused.items():
        assert answer.status_code == 403, f"{what}: {answer.status_code} {answer.text[:200]}"
        assert_problem(answer, 403)
    for method in ("GET", "DELETE", "POST"):
        assert_problem(site.request(method, url, headers=headers), 405)
    too_large = {"Content-Type": "image/jpeg", "Content-Length": str(9 * 1024 * 1024)}
    request = f"PUT {urlsplit(url).path}?{urlsplit(url).query} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
    request += "".join(f"{name}: {value}\r\n" for name, value in too_large.items()) + "Connection: close\r\n\r\n"
    with site.connect() as connection:
        connection.sendall(request.encode())
        assert status_of(read_answer(connection)) == 413  # nginx keeps it open for more of the body
    assert site.request("PUT", url, data=data, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/media", "/media/", "/media/products", "/media/products/", "/media/incoming/", "/v1/AUTH_media/media",
        "/v1/AUTH_media", "/auth/v1.0", "/media/products/../../auth/v1.0", "/media/products/..%2f..%2f..%2finfo",
        "/media/products/%2e%2e/%2e%2e/info", "/media/products/00000000000000000000000000000000.webp",
        "/media/products/00000000000000000000000000000000.webp/", "/media/products/0.webp", "/info", "/healthcheck",
        "//media/products/", "/media/../v1/AUTH_media/media",
    ],
)  # fmt: skip
def test_nothing_else_of_the_store_can_be_reached(site: Site, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-User: media:media\r\nConnection: close\r\n\r\n"
    answer = site.raw(request.encode())
    assert status_of(answer) in (400, 404), answer[:300]
    assert b"AUTH_media" not in answer.partition(b"\r\n\r\n")[0]
    assert b"<Name>" not in answer
    assert b"swift" not in answer.lower()


def test_an_image_cannot_be_changed_from_outside(site: Site, staff: Person, article: int) -> None:
    path = send(site, article, image(size=(300, 200)), staff).json()["image_url"]
    for method in ("PUT", "POST", "DELETE", "PATCH", "COPY"):
        assert_problem(site.request(method, path, data=b"x", headers={"X-Auth-Token": "x"}), 405)
    assert_image(site, path, 300)


def test_the_demos_featured_products_have_images_with_variants(site: Site) -> None:
    def shown() -> dict[str, list[str]]:
        page = site.get("/", headers={"Accept": BROWSER}).text
        return {path: variants(page, path) for path in PATH.findall(page)}

    # Workers make them after the first start of the stack.
    found = eventually("variants of each", shown, lambda seen: all(seen.values()) and len(seen) >= 10, within=60)
    for addresses in found.values():
        for address, width in zip(addresses, (320, 640, 960), strict=True):
            assert_image(site, address, width)


def test_no_replica_keeps_anything_of_an_upload(stack: Stack, site: Site, staff: Person, article: int) -> None:
    path = send(site, article, image(size=(700, 500)), staff).json()["image_url"]
    eventually("variants on the page", lambda: variants(page_of(site, article), path), within=VARIANTS)
    # All that can be written to: the rest is read-only.
    search = "grep -rlaE 'JFIF|WEBPVP8' /tmp /run /dev/shm 2>/dev/null; true"
    places = stack.containers("web", "products", "worker")
    # The page shows the variants a moment before the worker's task ends.
    eventually(
        "no file of the image",
        lambda: [one.name for one in places if stack.run_in(one, "sh", "-c", search).split()],
        lambda found: not found,
        within=10,
    )


@pytest.mark.failure
def test_every_replica_is_lost_with_its_files_and_no_image_is_missed(broken: Stack, site: Site, staff: Person) -> None:
    product = int(site.get("/api/products/?limit=1").json()["items"][0]["id"])
    path = send(site, product, image(size=(700, 500)), staff).json()["image_url"]
    eventually("variants on the page", lambda: variants(page_of(site, product), path), within=VARIANTS)
    replicas = ("web", "products", "worker")
    style = re.findall(r'"(/static/[^"]+[.]css)"', page_of(site, product))[0]
    styles = site.get(style).content
    visitor = site.session()
    assert [visitor.get("/session/").json()["visits"] for _ in range(2)] == [1, 2]
    before = {one.id for one in broken.containers(*replicas)}
    broken.compose("rm", "--stop", "--force", *replicas, timeout=120)
    broken.compose("up", "--detach", "--wait", *replicas, timeout=180)
    assert not before & {one.id for one in broken.containers(*replicas)}
    eventually("the page", lambda: page_of(site, product), lambda page: path in page, within=30)
    for address, width in zip(variants(page_of(site, product), path), (320, 640, 700), strict=True):
        assert_image(site, address, width)
    assert visitor.get("/session/").json()["visits"] == 3
    visitor.close()
    assert site.get(style).content == styles
    other = send(site, product, image(size=(700, 500)), staff)
    assert other.status_code == 200, other.text
    found = eventually(
        "variants of another", lambda: variants(page_of(site, product), other.json()["image_url"]), within=VARIANTS
    )
    assert_image(site, found[0], 320)


@pytest.mark.failure
@pytest.mark.parametrize("how", ["stop", "pause"])
def test_without_the_store_uploads_get_503_in_time_and_pages_continue(
    broken: Stack, site: Site, staff: Person, how: str
) -> None:
    product = int(site.get("/api/products/?limit=1").json()["items"][0]["id"])
    before = site.get(f"/api/products/{product}").json()["image_url"]
    getattr(broken, how)("swift")
    for _ in range(3):
        answer = send(site, product, image(size=(300, 200)), staff)
        assert_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.elapsed.total_seconds() < 2 * TIME_FACTOR
    assert site.get(f"/api/products/{product}").json()["image_url"] == before
    assert site.get("/", headers={"Accept": BROWSER}).status_code == 200
    assert page_of(site, product)
    assert site.get("/health/").json()["status"] == "healthy"
    missing = site.get("/media/products/00000000000000000000000000000000.webp")
    assert_problem(missing, missing.status_code)
    assert missing.status_code in (502, 503, 504)
    assert missing.elapsed.total_seconds() < 4 * TIME_FACTOR
    broken.start("swift")
    eventually(
        "an upload to be taken",
        lambda: send(site, product, image(size=(300, 200)), staff).status_code == 200,
        within=30,
    )


@pytest.mark.failure
def test_an_image_whose_workers_were_killed_gets_its_variants_when_they_are_back(
    broken: Stack, site: Site, staff: Person
) -> None:
    product = int(site.get("/api/products/?limit=1").json()["items"][0]["id"])
    broken.kill("worker")
    path = send(site, product, image(size=(700, 500)), staff).json()["image_url"]
    assert not variants(page_of(site, product), path)
    broken.start("worker")
    eventually("variants on the page", lambda: variants(page_of(site, product), path), within=90)
