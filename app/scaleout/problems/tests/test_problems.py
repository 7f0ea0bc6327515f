"""Every error is a problem, or a page for a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from scaleout.problems import Problem, problem_response
from scaleout.problems.middleware import ProblemMiddleware

pytestmark = pytest.mark.django_db(databases="__all__")

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_an_unknown_address_is_a_problem_with_the_requests_id() -> None:
    answer = Client().get("/nothing/here", headers={"x-request-id": "abc-1"})
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at this address.",
        "request_id": "abc-1",
    }


def test_a_browser_gets_a_page_instead() -> None:
    answer = Client().get("/nothing/here", headers=BROWSER)
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")


def test_the_api_answers_a_browser_with_a_problem_too() -> None:
    assert Client().get("/api/nothing/", headers=BROWSER)["Content-Type"] == "application/problem+json"


def test_an_unknown_service_is_named() -> None:
    assert Client().get("/api/cars/1").json()["detail"] == "No service has the name 'cars'."


def test_a_raised_problem_keeps_its_status_and_headers() -> None:
    middleware = ProblemMiddleware(lambda request: HttpResponse())
    answer = middleware.process_exception(RequestFactory().get("/"), Problem(429, "Too many.", {"Retry-After": "7"}))
    assert answer is not None
    assert (answer.status_code, answer["Retry-After"]) == (429, "7")


def test_a_database_that_is_away_is_503_and_says_when_to_come_back() -> None:
    middleware = ProblemMiddleware(lambda request: HttpResponse())
    answer = middleware.process_exception(RequestFactory().get("/"), OperationalError("gone"))
    assert answer is not None
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert "gone" not in answer.content.decode()


def test_other_exceptions_are_left_to_django() -> None:
    middleware = ProblemMiddleware(lambda request: HttpResponse())
    assert middleware.process_exception(RequestFactory().get("/"), KeyError("x")) is None


def test_a_server_error_tells_nothing_of_the_inside() -> None:
    def broken(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"secret trace", status=500)

    answer = ProblemMiddleware(broken)(RequestFactory().get("/"))
    assert answer["Content-Type"] == "application/problem+json"
    assert b"secret" not in answer.content


def test_a_problem_passes_through_unchanged() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        return problem_response(request, 409, "It is taken.")

    assert b"It is taken." in ProblemMiddleware(view)(RequestFactory().get("/")).content


def test_an_answer_of_another_server_passes_through_unchanged() -> None:
    def view(_request: HttpRequest) -> HttpResponse:
        response = HttpResponse(b"its own words", status=500, content_type="text/plain")
        response.passed_on = True  # type: ignore[attr-defined]  # as the gateway marks it
        return response

    answer = ProblemMiddleware(view)(RequestFactory().get("/api/users/"))
    assert (answer["Content-Type"], answer.content) == ("text/plain", b"its own words")


class LosesItsDatabase:
    """A middleware that needs a database after the view, as the one of the sessions does."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.get_response(request)
        raise OperationalError("no server for default")


def test_a_middleware_without_its_database_is_answered_503_and_not_500(settings: LazySettings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.LosesItsDatabase"]
    answer = Client(raise_request_exception=False).get("/api/nothing/")
    assert answer.status_code == 503
    assert answer["Retry-After"] == "1"
    assert answer["Content-Type"] == "application/problem+json"
