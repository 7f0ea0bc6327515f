"""A dictionary of settings: what is read from it, and what `manage.py check` says of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from scaleout.base.conf import (
    CacheAlias,
    Conf,
    DatabaseAlias,
    Dotted,
    between,
    module_with,
    one_of,
    origin,
    redis_cache,
)


@dataclass(frozen=True)
class Form:
    url: str
    rate: Annotated[int, between(0, 10)] = 5
    seconds: Annotated[float, between(0)] = 1.0
    on: bool = False
    colour: Annotated[str, one_of("red", "blue")] = "red"
    names: Collection[str] = ()
    services: Mapping[str, Annotated[int, between(1)]] | None = None
    function: Dotted | None = None
    module: Annotated[str, module_with("join")] | None = None
    cache: CacheAlias = "default"
    databases: Collection[DatabaseAlias] = ()
    edge: Annotated[str, origin] = ""
    redis: Annotated[str, redis_cache] = "default"
    ring: Any = None


conf = Conf("THINGS", Form)
GOOD = {"URL": "http://a"}


def test_keys_that_are_not_given_have_their_defaults(settings: Any) -> None:
    settings.THINGS = {"URL": "http://a", "RATE": 7}
    assert (conf().url, conf().rate, conf().seconds, conf().on) == ("http://a", 7, 1.0, False)
    assert conf() is conf()


def test_settings_are_read_at_each_use(settings: Any) -> None:
    settings.THINGS = GOOD
    assert conf().rate == 5
    with override_settings(THINGS=GOOD | {"RATE": 6}):
        assert conf().rate == 6
    assert conf().rate == 5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "THINGS['URL'] is missing."),
        (GOOD | {"RAT": 1}, "THINGS['RAT'] is no setting of scaleout.base.tests.test_conf."),
        (["URL"], "THINGS must be a dictionary, not list."),
    ],
)
def test_a_wrong_key_is_an_error_at_use_as_well(settings: Any, given: Any, said: str) -> None:
    settings.THINGS = given
    with pytest.raises(ImproperlyConfigured) as raised:
        conf()
    assert str(raised.value) == said
    assert conf.check()[0].msg == said


def test_a_project_without_the_dictionary_lacks_the_required_key_only() -> None:
    assert [(error.id, error.msg) for error in conf.check()] == [
        ("scaleout.base.tests.test_conf.E003", "THINGS['URL'] is missing.")
    ]


def test_an_unknown_key_has_the_nearest_known_one_or_all_as_its_hint(settings: Any) -> None:
    settings.THINGS = GOOD | {"RAT": 1, "XYZ": 1, 7: 1}
    hints = [error.hint for error in conf.check()]
    assert hints[0] == "Did you mean RATE?"
    assert hints[1] == hints[2]
    assert str(hints[1]).startswith("The keys are URL, RATE, ")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("URL", 1, "THINGS['URL'] must be str, not int."),
        ("URL", None, "THINGS['URL'] must be str, not NoneType."),
        ("RATE", "1", "THINGS['RATE'] must be int, not str."),
        ("RATE", True, "THINGS['RATE'] must be int, not bool."),
        ("RATE", 1.0, "THINGS['RATE'] must be int, not float."),
        ("RATE", 11, "THINGS['RATE'] must be from 0 to 10, not 11."),
        ("SECONDS", -1, "THINGS['SECONDS'] must be from 0 to 1000000000, not -1."),
        ("SECONDS", float("inf"), "THINGS['SECONDS'] must be from 0 to 1000000000, not inf."),
        ("SECONDS", float("nan"), "THINGS['SECONDS'] must be from 0 to 1000000000, not nan."),
        ("SECONDS", True, "THINGS['SECONDS'] must be float, not bool."),
        ("ON", 1, "THINGS['ON'] must be bool, not int."),
        ("COLOUR", "green", "THINGS['COLOUR'] must be one of red, blue, not 'green'."),
        ("NAMES", "abc", "THINGS['NAMES'] must be collection, not str."),
        ("NAMES", ["a", 1], "THINGS['NAMES'][1] must be str, not int."),
        ("SERVICES", [], "THINGS['SERVICES'] must be mapping, not list."),
        ("SERVICES", {"a": 0}, "THINGS['SERVICES']['a'] must be from 1 to 1000000000, not 0."),
        ("SERVICES", {1: 1}, "THINGS['SERVICES']: the key 1 must be str, not int."),
        (
            "FUNCTION",
            "nothing.here",
            "THINGS['FUNCTION'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        (
            "FUNCTION",
            "os.path.nope",
            "THINGS['FUNCTION'] cannot be imported: ImportError: Module \"os.path\" does not define a",
        ),
        ("FUNCTION", "", "THINGS['FUNCTION'] cannot be imported: ImportError:  doesn't look like a module path."),
        ("MODULE", "nothing", "THINGS['MODULE'] cannot be imported: ModuleNotFoundError: No module named 'nothing'."),
        ("MODULE", "", "THINGS['MODULE'] cannot be imported: ValueError: Empty module name."),
        ("FUNCTION", "..here", "THINGS['FUNCTION'] cannot be imported: TypeError: "),
        ("FUNCTION", "os.sep", "THINGS['FUNCTION'] must name a function, not str."),
        ("MODULE", "..here", "THINGS['MODULE'] cannot be imported: TypeError: "),
        ("MODULE", "sys", "THINGS['MODULE'] names a module without the functions join."),
        ("REDIS", "none", "THINGS['REDIS'] is 'none', which CACHES does not name."),
        ("REDIS", "local", "THINGS['REDIS'] is 'local', which is no cache of django-redis."),
        ("URL", "a\nb", "THINGS['URL'] must be one line without control characters."),
        ("NAMES", {"a": "b"}, "THINGS['NAMES'] must be collection, not dict."),
        ("NAMES", ["a", "a"], "THINGS['NAMES'] has 'a' twice."),
        ("SECONDS", 10**9 + 1, "THINGS['SECONDS'] must be from 0 to 1000000000, not 1000000001."),
        ("CACHE", "none", "THINGS['CACHE'] is 'none', which CACHES does not name."),
        ("DATABASES", ["none"], "THINGS['DATABASES'][0] is 'none', which DATABASES does not name."),
    ],
)
def test_a_wrong_value_is_named_with_its_place(settings: Any, key: str, value: Any, said: str) -> None:
    settings.THINGS = GOOD | {key: value}
    [error] = conf.check()
    assert error.id == "scaleout.base.tests.test_conf.E004"
    assert error.msg.startswith(said)


def test_right_values_are_no_errors(settings: Any) -> None:
    settings.THINGS = {
        "URL": "",
        "RATE": 10,
        "SECONDS": 2,
        "ON": True,
        "COLOUR": "blue",
        "NAMES": {"a", "b"},
        "SERVICES": {"a": 1},
        "FUNCTION": "os.path.join",
        "MODULE": "os.path",
        "CACHE": "limits",
        "DATABASES": ["default"],
        "RING": object(),
    }
    assert conf.check() == []


@pytest.mark.parametrize("code", ["import os\nos.environ['NOT_THERE']", "def (:", "1 / 0"])
def test_a_module_that_fails_when_it_is_imported_is_an_error_and_no_traceback(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    (tmp_path / "failing.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    settings.THINGS = GOOD | {"FUNCTION": "failing.name", "MODULE": "failing"}
    assert [error.msg.split(": ")[0] for error in conf.check()] == [
        "THINGS['FUNCTION'] cannot be imported",
        "THINGS['MODULE'] cannot be imported",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://a:99999", "http://a:x", "http://a:0", "http://a:", "http://a:80:90", "http://:80", "http://", "http://[",
        "http://[1]", "http://...", "http://-", "http://a/path", "http://a@b", "ftp://a", "a:80",
    ],
)  # fmt: skip
def test_a_wrong_url_is_named(settings: Any, url: str) -> None:
    settings.THINGS = GOOD | {"EDGE": url}
    assert [error.msg for error in conf.check()] == [
        f"THINGS['EDGE'] must be a URL such as http://edge:8081, not {url!r}."
    ]


@pytest.mark.parametrize("url", ["", "http://a", "https://a.example:65535", "http://a_b-1:80", "http://[::1]:80"])
def test_a_right_url_is_no_error(settings: Any, url: str) -> None:
    settings.THINGS = GOOD | {"EDGE": url}
    assert conf.check() == []
