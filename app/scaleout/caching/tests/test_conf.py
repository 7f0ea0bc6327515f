"""`manage.py check` names each wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
from checking import complaints

from scaleout.caching import conf, source


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"SOURCE": "nothing"},
            "E004 CACHING['SOURCE'] cannot be imported: ModuleNotFoundError: No module named 'nothing'.",
        ),
        (
            {"SOURCE": "os"},
            "E004 CACHING['SOURCE'] names a module without the functions token, newest, at_least, must_be_fresh.",
        ),
        ({"KEY": b"secret"}, "E004 CACHING['KEY'] must be str, not bytes."),
        ({"PICKLES": 0}, "E004 CACHING['PICKLES'] must be bool, not int."),
        ({"WARMERS": "front-page"}, "E004 CACHING['WARMERS'] must be collection, not str."),
        ({"RELEASE": 7}, "E004 CACHING['RELEASE'] must be str, not int."),
        ({"EXPOSE_TOPOLOGY": "no"}, "E004 CACHING['EXPOSE_TOPOLOGY'] must be bool, not str."),
        ({"PICKLE": False}, "E002 CACHING['PICKLE'] is no setting of scaleout.caching."),
    ],
)
def test_check_names_a_wrong_setting(settings: Any, wrong: dict[str, Any], said: str) -> None:
    settings.CACHING = settings.CACHING | wrong
    assert complaints() == [f"scaleout.caching.{said}"]


def test_check_misses_the_cache_of_the_process(settings: Any) -> None:
    settings.CACHES = {alias: one for alias, one in settings.CACHES.items() if alias != "local"}
    assert complaints() == ["scaleout.caching.E005 CACHING needs the cache 'local', which CACHES does not name."]


def test_check_asks_for_each_function_of_a_source() -> None:
    assert {*conf.SOURCE} == {name for name in vars(source.Source) if not name.startswith("_")}
