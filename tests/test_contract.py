"""Each service conforms to its OpenAPI document, checked by requests of schemathesis."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks
from support.client import TIMEOUT, Browser, Site
from support.services import PASSWORD, Person, Services, leftovers, place, register
from support.stack import Stack
from support.tokens import bearer, token

type AnyCase = Case[Any]

# Of each operation, and each for what the document allows and for what it does not; the same ones
# in each run.
EXAMPLES = hypothesis.settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
CHECKS: list[Any] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.ignored_auth,
]
# The operations that must succeed at least once: a run with only rejected requests shows nothing.
_USER, _PRODUCT, _ORDER = "/api/users/{user_id}", "/api/products/{product_id}", "/api/orders/{order_id}"
_ORDERS = {"POST /api/orders/", "GET /api/orders/", f"GET {_ORDER}"}
_LOGINS = {f"POST {_USER}/logout", f"POST {_USER}/password"}
SERVED = {
    ("users", "anonymous"): {
        "POST /api/users/",
        *(f"POST /api/users/{one}" for one in ("token", "token/refresh", "logout")),
    },
    ("users", "user"): {f"GET {_USER}", f"PATCH {_USER}", f"GET {_USER}/orders", *_LOGINS},
    ("users", "staff"): {"GET /api/users/", f"GET {_USER}", f"PATCH {_USER}", f"DELETE {_USER}", f"GET {_USER}/orders"},
    ("products", "anonymous"): {"GET /api/products/", "GET /api/products/categories", f"GET {_PRODUCT}"},
    ("products", "user"): set[str](),
    ("products", "staff"): {"POST /api/products/", f"PATCH {_PRODUCT}", f"DELETE {_PRODUCT}"},
    ("orders", "anonymous"): set[str](),
    ("orders", "user"): _ORDERS,
    ("orders", "staff"): _ORDERS,
}
# What is asked here is asked by another caller too, and answered by the same code: with make
# test-failure.
SAME_AGAIN = [("users", "user"), ("products", "user"), ("orders", "anonymous"), ("orders", "staff")]
SHOWN = 10  # failures of one run that are printed in full


@dataclass
class Own:
    """The rows that this test has made. It changes only these: each number in a path is one."""

    services: Services
    category: str
    products: list[int] = field(default_factory=list)  # the last one may be deleted
    people: list[Person] = field(default_factory=list)  # likewise
    order: int = 0

    @property
    def user(self) -> Person:
        """The user who calls."""
        return self.people[0]

    def headers(self, caller: str) -> dict[str, str]:
        """Return the headers of `caller`. Staff uses this test's user, who is deleted."""
        return {} if caller == "anonymous" else bearer(self.user.id, staff=caller == "staff")

    def make_product(self) -> int:
        """Make a product and return its id."""
        new = {"sku": f"tests-{secrets.token_hex(8)}", "name": "Test", "category": self.category}
        body = new | {"price": {"amount": 100, "currency": "EUR"}, "stock": 1000}
        made = self.services.products.post("/api/products/", json=body, headers=self.headers("staff"))
        assert made.status_code == 201, made.text
        return int(made.json()["id"])

    def keep_to(self, case: AnyCase) -> None:
        """Replace ids in the case by those of this test's rows, which the document cannot know."""
        deleting = case.method.upper() == "DELETE"
        for name, value in (case.path_parameters or {}).items():
            if re.fullmatch(r"[\W\d]*\d[\W\d]*", str(value)):  # a list of one number is sent as the number
                case.path_parameters[name] = self._id(name, deleting=deleting)
        body: Any = case.body
        if not _is_meant_well(case) or not isinstance(body, dict):
            return
        if case.operation.path == "/api/users/token":
            body |= {"email": self.user.email, "password": PASSWORD}
        if "refresh_token" in body:
            login = {"email": self.user.email, "password": PASSWORD}
            body["refresh_token"] = self.services.users.post("/api/users/token", json=login).json()["refresh_token"]
        if "current_password" in body or (case.method.upper() == "PATCH" and "email" in body):
            body["current_password"] = PASSWORD
        if "new_password" in body:
            body["new_password"] = PASSWORD
        if "category" in body:
            body["category"] = self.category
        if isinstance(body.get("price"), dict):
            body["price"]["currency"] = "EUR"
        for item, product in zip(body.get("items") or [], self.products, strict=False):
            item["product_id"] = product

    def remember(self, case: AnyCase, response: Response) -> None:
        """Record the rows that the case has created, to delete them."""
        if response.status_code != 201 or case.method.upper() != "POST":
            return
        made = response.json()
        if case.operation.path == "/api/users/":
            self.people.insert(1, Person(made["id"], made["email"], token(made["id"])))
        elif case.operation.path == "/api/products/":
            self.products.insert(2, made["id"])

    def clear(self) -> None:
        """Delete all of it."""
        for product in self.products:
            self.services.products.request("DELETE", f"/api/products/{product}", headers=self.headers("staff"))
        leftovers(self.services, self.people)

    def _id(self, name: str, *, deleting: bool) -> int:
        if name == "order_id":
            return self.order
        if name == "user_id":
            return self.people[-1 if deleting else 0].id
        return self.products[-1 if deleting else 0]


@pytest.fixture(scope="module")
def own(stack: Stack, site: Site) -> Iterator[Own]:
    """The rows that the requests use."""
    services = Services.of(stack)
    category = site.get("/api/products/?limit=1").json()["items"][0]["category"]["slug"]
    own = Own(services, category)
    try:
        own.people += [register(services), register(services)]
        own.products += [own.make_product() for _ in range(3)]
        own.order = place(services, own.user, "contract", [{"product_id": own.products[0], "quantity": 1}]).json()["id"]
        yield own
    finally:
        own.clear()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    """One connection for all requests."""
    with site.session() as browser:
        yield browser


def _is_meant_well(case: AnyCase) -> bool:
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


def each_case(operation: APIOperation[Any, Any, Any, Any], check: Callable[[AnyCase], None]) -> None:
    """Call `check` with the cases that follow from the document, and with some at random."""
    schema = operation.schema
    modes = list(GenerationMode)
    for case in schema.iter_coverage_cases(
        operation, generation_modes=modes, generation_config=schema.config.generation
    ):
        check(case)
    for mode in modes:
        with contextlib.suppress(Unsatisfiable):  # there is nothing that could be wrong with such a request
            EXAMPLES(hypothesis.given(operation.as_strategy(generation_mode=mode))(check))()


@pytest.mark.parametrize(
    ("service", "caller"),
    [pytest.param(*one, marks=[pytest.mark.long] if one in SAME_AGAIN else []) for one in SERVED],
)
def test_every_answer_conforms_to_the_openapi_document(
    site: Site, browser: Browser, own: Own, service: str, caller: str
) -> None:
    schema = schemathesis.openapi.from_url(f"{site.url}/api/{service}/openapi.json", timeout=TIMEOUT)
    headers = own.headers(caller)
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    failures: dict[tuple[str, int, str], str] = {}

    def check(case: AnyCase) -> None:
        own.keep_to(case)
        response = case.call(site.url, browser, headers, timeout=TIMEOUT)
        own.remember(case, response)
        statuses[case.operation.label][response.status_code] += 1
        options = {"base_url": site.url, "session": browser, "timeout": TIMEOUT}
        try:
            case.validate_response(response, CHECKS, headers=headers, transport_kwargs=options)
        except FailureGroup as group:
            for failure in group.exceptions:
                failures.setdefault((case.operation.label, response.status_code, failure.title), str(group))

    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result.err()
        operation = result.ok()
        # A public operation is the same for each caller, so one caller is enough.
        if caller == "anonymous" or "security" in operation.definition.raw:
            each_case(operation, check)
    assert not failures, "\n\n".join(f"{where}\n{text}" for where, text in list(failures.items())[:SHOWN])
    served = {label for label, seen in statuses.items() if any(status < 300 for status in seen)}
    assert served >= SERVED[service, caller], statuses
