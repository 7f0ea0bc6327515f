"""Bad values in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import environment
from config.static_url import static_origin


@pytest.mark.parametrize("value", ["yes", "2", "true"])
def test_a_flag_that_is_neither_0_nor_1_stops_the_service_with_one_line(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEBUG", value)
    with pytest.raises(SystemExit) as stop:
        environment.flag("DEBUG")
    assert stop.value.code == 64
    assert capsys.readouterr().err == f'web: DEBUG="{value}": must be 0 or 1\n'


@pytest.mark.parametrize("value", ["0", "65", "-1", "two", "1e3", "٣"])
def test_a_number_outside_its_range_stops_the_service(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_WORKERS", value)
    with pytest.raises(SystemExit):
        environment.integer("WEB_WORKERS", 2, least=1, most=64)


def test_an_unset_or_empty_value_takes_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_WORKERS", "")
    assert environment.integer("WEB_WORKERS", 2, least=1, most=64) == 2
    assert environment.words("WEB_WORKERS") == []


@pytest.mark.parametrize(
    "value",
    ["cdn.example.com", "https://cdn.example.com/", "https://cdn.example.com/x", "ftp://a", "https://a b", "https://a:0",
     "https://-a.com", "https://"],
)  # fmt: skip
def test_an_address_that_is_more_or_less_than_one_stops_the_service(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDN_URL", value)
    with pytest.raises(SystemExit):
        environment.origin("CDN_URL")
    message = capsys.readouterr().err
    assert f'CDN_URL="{value}": must be an address' in message
    assert message.count("\n") == 1


def test_static_files_come_from_the_cdn_that_is_set_and_from_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert static_origin() == ""
    monkeypatch.setenv("CDN_URL", "https://cdn.example.com:8443")
    assert static_origin() == "https://cdn.example.com:8443"
    monkeypatch.setenv("AWS_CLOUDFRONT_DOMAIN", "d111111abcdef8.example.net")
    with pytest.raises(SystemExit):
        static_origin()
    monkeypatch.delenv("CDN_URL")
    assert static_origin() == "https://d111111abcdef8.example.net"
    monkeypatch.setenv("AWS_CLOUDFRONT_DOMAIN", "https://d111111abcdef8.example.net")
    with pytest.raises(SystemExit):
        static_origin()


def test_a_secret_has_no_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SOME_PASSWORD_FILE", raising=False)
    with pytest.raises(SystemExit):
        environment.secret("SOME_PASSWORD")
    empty = tmp_path / "empty"
    empty.touch()
    monkeypatch.setenv("SOME_PASSWORD_FILE", str(empty))
    with pytest.raises(SystemExit):
        environment.secret("SOME_PASSWORD")
    assert "is an empty file" in capsys.readouterr().err


def test_a_secret_is_read_without_its_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    monkeypatch.setenv("SOME_PASSWORD_FILE", str(file))
    assert environment.secret("SOME_PASSWORD") == "s3cret"
