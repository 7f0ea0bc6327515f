"""A django-ninja API whose errors are all problems.

An endpoint declares its own errors: `response={200: Out, **problems(404, 409)}`. The errors of
every endpoint (a bad request, a database that is down) are in the OpenAPI document without that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils.datastructures import MultiValueDict
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from ninja.parser import Parser

from scaleout.base.problem import problem_response
from scaleout.problems.responses import Problem

# For the pattern of a text: PostgreSQL keeps no NUL.
NO_NUL = r"^[^\x00]*$"
_ERRORS_MAX = 5  # errors of one request in the detail
_LONGEST = 100  # characters of a field's name in the detail: the caller may have chosen it
# What every endpoint can answer: a bad request, and what it or a gateway answers while a part is
# down.
_ANY = (400, 429, 502, 503, 504)
_LATER = (429, 503)  # with Retry-After
_AFTER = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}


class ProblemDetails(Schema):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None


def problems(*statuses: int) -> dict[int, type[ProblemDetails]]:
    """Return the part of an endpoint's `response` that names its errors."""
    return dict.fromkeys(statuses, ProblemDetails)


def of_text(form: Callable[[str], str]) -> Callable[[Any], Any]:
    """Return `form` for a pydantic BeforeValidator. It lets other types pass, which pydantic
    refuses.
    """
    return lambda value: form(value) if isinstance(value, str) else value


class JsonParser(Parser):
    """Parse JSON bodies that are declared as JSON, and ignore empty parameters."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the body. Raises Problem 415 for another type; any other error becomes 400."""
        if request.content_type != "application/json":
            raise Problem(415, "The body must be application/json.")
        return json.loads(request.body, object_pairs_hook=_object)

    def parse_querydict(self, data: MultiValueDict[str, Any], list_fields: list[str], request: HttpRequest) -> Any:
        """Return the parameters of a query. An empty one counts as missing: `?cursor=` is the first
        page.
        """
        given = super().parse_querydict(data, list_fields, request)
        return {name: value for name, value in given.items() if value != ""}


class Api(NinjaAPI):
    """The API of one service, below `/api/<name>/`. A GET is also answered as HEAD."""

    def __init__(self, name: str, description: str, **options: Any) -> None:
        super().__init__(
            title=name,
            description=description,
            urls_namespace=name,
            docs_url=None,
            parser=JsonParser(),
            **options,
        )

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Return the name that a generated client gives the operation: it stays when the package
        moves.
        """
        package_and_module = operation.view_func.__module__.split(".")[-2:]
        return "_".join([*package_and_module, operation.view_func.__name__])

    def set_default_exception_handlers(self) -> None:
        """Answer errors with problems. Django and its middlewares handle what is not named here."""
        self.add_exception_handler(Problem, _problem)
        self.add_exception_handler(HttpError, _http_error)
        self.add_exception_handler(AuthenticationError, _unauthorised)
        self.add_exception_handler(ValidationError, _invalid)
        self.add_exception_handler(PermissionDenied, _status(403, "This is not allowed."))
        self.add_exception_handler(Http404, _status(404, "There is nothing at this address."))
        self.add_exception_handler(RequestDataTooBig, _status(413, "The body is too large."))
        self.add_exception_handler(UnreadablePostError, _status(400, "The body has not arrived whole."))

    def get_content_type(self) -> str:
        """Return the type of successful answers: JSON has no charset."""
        return "application/json"

    def _get_urls(self) -> Any:
        urls = super()._get_urls()
        for router in self._get_bound_routers():
            for view in router.path_operations.values():
                for operation in view.operations:
                    if "GET" in operation.methods and "HEAD" not in operation.methods:
                        operation.methods.append("HEAD")
        return urls

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Return the document: errors with their media type, and without the HEADs."""
        schema = super().get_openapi_schema(**options)
        schema.add_schema_definitions({"ProblemDetails": ProblemDetails.json_schema()})
        error = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
        for path in schema["paths"].values():
            path.pop("head", None)
            for operation in path.values():
                responses = operation["responses"]
                body = {413, 415} if "requestBody" in operation else set()
                for status in sorted({*(one for one in responses if one >= 400), *_ANY, *body}):
                    responses[status] = {"description": HTTPStatus(status).phrase, "content": error}
                    if status in _LATER:
                        responses[status]["headers"] = {"Retry-After": _AFTER}
        return schema


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON. Parsers disagree on an object that has a name twice, so it is
    refused.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Problem(400, "An object in the body has the same name twice. Send each name once.")
    return made


# The exception's type is Any below: ninja's own annotation of a handler wants its class as well.
def _status(status: int, detail: str) -> Any:
    def answer(request: HttpRequest, _error: Exception) -> HttpResponse:
        return problem_response(request, status, detail)

    return answer


def _problem(request: HttpRequest, error: Any) -> HttpResponse:
    return problem_response(request, error.status, error.detail, error.headers)


def _http_error(request: HttpRequest, error: Any) -> HttpResponse:
    if isinstance(error.__cause__, Problem):  # ninja wraps what its parser raises
        return _problem(request, error.__cause__)
    return problem_response(request, error.status_code, error.message)


def _unauthorised(request: HttpRequest, error: Any) -> HttpResponse:
    if "Authorization" in request.headers:
        return problem_response(request, 401, error.message, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    detail = "A token is required in the Authorization header."
    return problem_response(request, 401, detail, {"WWW-Authenticate": "Bearer"})


def _invalid(request: HttpRequest, error: Any) -> HttpResponse:
    details = [f"{_name(one['loc'])}: {one['msg']}" for one in error.errors[:_ERRORS_MAX]]
    return problem_response(request, 400, "; ".join(details))


def _name(place: tuple[str | int, ...]) -> str:
    """Return the place of an error: `body.items.0.quantity`. Without the second word of a body's
    place, which is a name of the view's.
    """
    source, *words = place
    words = words[1:] if source == "body" else words
    return ".".join(map(str, [source, *words]))[:_LONGEST]
