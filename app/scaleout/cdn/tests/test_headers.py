"""The cache headers of answers depend on their content."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from pytest_django import Settings

from scaleout.cdn import policy, public

PUBLIC = "public, max-age=0"
FOR_CDNS = "public, max-age=30, stale-while-revalidate=30, stale-if-error=3600"
PERSONAL = "private, no-store"


@pytest.fixture(autouse=True)
def views(settings: Settings) -> None:
    settings.ROOT_URLCONF = "scaleout.cdn.tests.urls"


@pytest.mark.parametrize(
    ("path", "control"),
    [
        ("/public", PUBLIC),
        ("/public/page", PUBLIC),
        ("/page", "no-cache"),
        ("/data", PERSONAL),
        ("/page/personal", PERSONAL),
        ("/page/moved", PERSONAL),
        ("/page/moved-for-good", PERSONAL),
        ("/public/moved-for-good", PUBLIC),
        ("/public/moved", PERSONAL),  # 302
        ("/public/streamed", PERSONAL),
        ("/data/revalidated", "no-cache"),
        ("/data/own", "private, max-age=60"),
        ("/data/shared", "public, max-age=60"),
        ("/public/missing", "no-store"),
        ("/public/refused", "no-store"),
        ("/nothing", "no-store"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_says_what_may_be_kept_of_it(client: Client, method: str, path: str, control: str) -> None:
    answer = client.generic(method, path)
    assert answer.headers["Cache-Control"] == control
    assert answer.headers.get("CDN-Cache-Control") == (FOR_CDNS if control == PUBLIC else None)


@pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2"])
@pytest.mark.parametrize(
    "path",
    [
        "/public/reads-session",
        "/public/writes-session",
        "/public/sets-cookie",
        "/public/varies",
        "/public/wrote",
        "/service?Cache-Control=public,max-age=30&Set-Cookie=a=b",
        "/service?Cache-Control=public,max-age=30&X-Read-After=0/1",
        '/service?Cache-Control=max-age=30,private="X-Name"&Set-Cookie=a=b',
        "/service?Cache-Control=public,max-age=30,private&Set-Cookie=a=b",
        "/service?Set-Cookie=a=b&CDN-Cache-Control=max-age=30",
        "/service?Set-Cookie=a=b&Cloudflare-CDN-Cache-Control=max-age=30&Surrogate-Control=max-age=30",
    ],
)
def test_what_turns_out_to_be_somebodys_own_is_never_public(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["Cache-Control"] == PERSONAL
    assert "Surrogate-Key" not in answer.headers
    assert "ETag" not in answer.headers
    assert not [name for name in answer.headers if name.lower().endswith(("cdn-cache-control", "surrogate-control"))]


def test_tags_of_answers_are_several_and_said_at_each_answer() -> None:
    with pytest.raises(ValueError, match="tags must be several"):
        public(max_age=1, tags="product:7")

    @public(max_age=1, tags=(f"product:{number}" for number in range(2)))
    def view(_request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    for _ in range(2):
        wish = policy.of(view(HttpRequest()))
        assert wish is not None
        assert list(wish.named()) == ["product:0", "product:1"]


@pytest.mark.parametrize("path", ["/public", "/page", "/data/shared", "/service?Cache-Control=public,max-age=30"])
def test_a_caller_with_a_token_gets_no_shared_answer(client: Client, path: str) -> None:
    assert client.get(path, headers={"Authorization": "Bearer x"}).headers["Cache-Control"] == PERSONAL
    assert client.get(path).headers["Cache-Control"] != PERSONAL


def test_a_cookie_that_no_view_has_looked_at_makes_no_answer_personal(client: Client) -> None:
    client.cookies["sessionid"] = "0" * 32
    assert client.get("/public").headers["Cache-Control"] == PUBLIC


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_cache_keeps_the_answer_to_a_change(client: Client, method: str) -> None:
    for path in ("/public", "/page", "/data"):
        assert client.generic(method, path).headers["Cache-Control"] == PERSONAL


@pytest.mark.parametrize("path", ["/data/never", "/data/own"])
def test_what_a_view_has_said_is_not_made_laxer(client: Client, path: str) -> None:
    said = client.get(path).headers["Cache-Control"]
    assert "private" in said
    assert client.get(path, headers={"Authorization": "Bearer x"}).headers["Cache-Control"] == said


def test_what_a_service_has_said_of_its_answer_stays(client: Client) -> None:
    answer = client.get('/service?Cache-Control=public,max-age=7&ETag="x"&Surrogate-Key=a&Vary=Accept')
    assert answer.headers["Cache-Control"] == "public,max-age=7"
    assert (answer.headers["ETag"], answer.headers["Surrogate-Key"], answer.headers["Vary"]) == ('"x"', "a", "Accept")
    assert client.get("/service?status=304&Cache-Control=no-cache").headers["Cache-Control"] == "no-cache"
    assert client.get("/service?status=404&Cache-Control=max-age=5").headers["Cache-Control"] == "max-age=5"


def test_a_service_that_has_said_nothing_is_taken_to_be_personal(client: Client) -> None:
    assert client.get("/service").headers["Cache-Control"] == PERSONAL
    assert client.get("/service?status=503").headers["Cache-Control"] == "no-store"


# ── ETag and Vary ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/public", "/page", "/data/revalidated"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_the_answer_already_gets_304(client: Client, method: str, path: str) -> None:
    first = client.generic(method, path)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')  # the load balancer may compress it
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = client.generic(method, path, headers={"If-None-Match": known})
        assert again.status_code == 304
        assert not again.content
        for name in ("ETag", "Cache-Control", "Vary", "X-Request-ID"):
            assert name in again.headers, name
        assert again.headers.get("CDN-Cache-Control") == first.headers.get("CDN-Cache-Control")
        assert again.headers.get("Surrogate-Key") == first.headers.get("Surrogate-Key")
    assert client.generic(method, path, headers={"If-None-Match": '"other"'}).status_code == 200


DATES = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2065 07:28:00 GMT"


@pytest.mark.parametrize("path", ["/public", "/page", "/data"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-Match", '"x"'),
        ("If-Match", "*"),
        ("Range", "bytes=0-1"),
        *((name, date) for name in ("If-Unmodified-Since", "If-Modified-Since", "If-Range") for date in DATES),
    ],
)
def test_a_condition_on_what_an_answer_has_not_got_changes_nothing(
    client: Client, path: str, name: str, value: str
) -> None:
    plain, asked = client.get(path), client.get(path, headers={name: value})
    assert (asked.status_code, asked.content) == (200, plain.content)
    assert asked.headers["Cache-Control"] == plain.headers["Cache-Control"]
    # A client that has the answer still gets a 304.
    if tag := plain.headers.get("ETag"):
        assert client.get(path, headers={name: value, "If-None-Match": tag}).status_code == 304


def test_get_and_head_have_the_same_validator_and_another_body_has_another(client: Client) -> None:
    assert client.get("/public").headers["ETag"] == client.head("/public").headers["ETag"]
    assert client.get("/public").headers["ETag"] != client.get("/public/page").headers["ETag"]


def test_a_body_that_changes_at_the_same_path_has_another_validator_and_is_sent_whole(client: Client) -> None:
    old, same, new = (client.get("/public/echo", headers={"X-Body": body}) for body in ("old", "old", "new"))
    assert old.headers["ETag"] == same.headers["ETag"] != new.headers["ETag"]
    answer = client.get("/public/echo", headers={"X-Body": "new", "If-None-Match": old.headers["ETag"]})
    assert (answer.status_code, answer.content) == (200, b"new")


@pytest.mark.parametrize("path", ["/data", "/nothing", "/data/never", "/public/refused"])
def test_an_answer_that_no_cache_keeps_has_no_validator(client: Client, path: str) -> None:
    assert "ETag" not in client.get(path).headers
    assert client.get(path, headers={"If-None-Match": "*"}).status_code != 304


@pytest.mark.parametrize("path", ["/public", "/page"])
def test_what_may_be_kept_varies_by_the_encoding_alone(client: Client, path: str) -> None:
    assert client.get(path).headers["Vary"] == "Accept-Encoding"


# ── tags ──────────────────────────────────────────────────────────────────────────────────────────
def test_the_tags_stand_in_the_header_of_the_cdn(client: Client, settings: Settings) -> None:
    odd, seven = client.get("/public").headers["Surrogate-Key"].split(" ")
    assert seven == "product:7"
    assert odd.startswith("-")
    settings.CDN = {"TAG_HEADER": "Cache-Tag"}
    answer = client.get("/public")
    assert answer.headers["Cache-Tag"] == f"{odd},{seven}"
    assert "Surrogate-Key" not in answer.headers


def test_an_answer_with_more_tags_than_fit_is_asked_for_each_time(client: Client) -> None:
    answer = client.get("/public/many-tags")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "Surrogate-Key" not in answer.headers
    assert "CDN-Cache-Control" not in answer.headers


def test_a_view_may_let_a_browser_keep_its_answer(client: Client) -> None:
    answer = client.get("/public/by-browsers")
    assert answer.headers["Cache-Control"] == "public, max-age=5"
    assert answer.headers["CDN-Cache-Control"] == "public, max-age=30"


def test_a_bad_policy_is_refused_when_the_view_is_loaded() -> None:
    from scaleout.cdn import public  # noqa: PLC0415 - beside what it is about

    with pytest.raises(ValueError, match="max_age"):
        public(max_age=0)
    with pytest.raises(ValueError, match="at least 0"):
        public(max_age=1, stale_if_error=-1)
