"""The environment, checked once at the start."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

METHODS = ("round_robin", "least_conn", "ip_hash", "weighted")

_SERVICE = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"\.?{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]")


class BadSettingError(ValueError):
    """A value in the environment that cannot be used; the message names it."""

    def __init__(self, name: str, value: str, rule: str) -> None:
        super().__init__(f'{name}="{value}": {rule}')


@dataclass(frozen=True)
class Settings:
    """What the environment asks for.

    `upstreams` maps a Compose service to the weight of each of its replicas; `hosts` is empty where any Host
    is served, else holds names as in Django's ALLOWED_HOSTS.
    """

    method: str
    upstreams: Mapping[str, int]
    hosts: tuple[str, ...]
    max_body_bytes: int


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises BadSettingError."""
    return Settings(
        method=_method(environment.get("LB_METHOD") or "least_conn"),
        upstreams=_upstreams(environment.get("LB_UPSTREAMS") or "web=1"),
        hosts=_hosts(environment.get("ALLOWED_HOSTS", "")),
        max_body_bytes=_max_body_bytes(environment.get("MAX_BODY_BYTES") or "1048576"),
    )


def _method(value: str) -> str:
    if value not in METHODS:
        raise BadSettingError("LB_METHOD", value, f"must be one of {', '.join(METHODS)}")
    return value


def _upstreams(value: str) -> dict[str, int]:
    upstreams: dict[str, int] = {}
    for part in value.split(","):
        service, _, weight = part.strip().partition("=")
        if not _SERVICE.fullmatch(service) or not re.fullmatch(r"[1-9]\d{0,2}", weight) or int(weight) > 256:
            rule = "must be service=weight[,service=weight...], a weight from 1 to 256"
            raise BadSettingError("LB_UPSTREAMS", value, rule)
        if service in upstreams:
            raise BadSettingError("LB_UPSTREAMS", value, f"names {service} twice")
        upstreams[service] = int(weight)
    return upstreams


def _hosts(value: str) -> tuple[str, ...]:
    hosts = [part.strip().lower() for part in value.split(",") if part.strip()]
    if "*" in hosts:
        return ()
    for host in hosts:
        if not _HOST.fullmatch(host):
            rule = "must be a comma-separated list of host names, .domains or *"
            raise BadSettingError("ALLOWED_HOSTS", value, rule)
    return tuple(dict.fromkeys(hosts))


def _max_body_bytes(value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,11}", value):
        raise BadSettingError("MAX_BODY_BYTES", value, "must be a whole number of bytes, at least 1")
    return int(value)
