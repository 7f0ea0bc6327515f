"""The settings in /etc/lb, which scripts/lb.sh writes; checked at start and at each reload."""

import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

FROM = Path("/etc/lb")

METHODS = ("round_robin", "least_conn", "ip_hash", "weighted")
# The ways in which a trusted proxy sends the client's address.
CLIENT_ADDRESSES = ("x-forwarded-for", "cf-connecting-ip", "proxy-protocol")

_SERVICE = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"\.?{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]")


class BadSettingError(ValueError):
    """An invalid value or file; the message names it."""

    @classmethod
    def value(cls, name: str, value: str, rule: str) -> Self:
        """Return the error of a `value` that breaks the rule."""
        return cls(f'{name}="{value}": {rule}')


@dataclass(frozen=True)
class Settings:
    """The settings.

    `upstreams` maps a Compose service to the weight of each of its replicas. `hosts` has names as
    in Django's ALLOWED_HOSTS; empty means any host. `max_in_flight`: requests at one replica.
    """

    method: str
    upstreams: Mapping[str, int]
    hosts: tuple[str, ...]
    max_body_bytes: int
    max_in_flight: int
    trusted_proxies: tuple[str, ...] = ()
    client_address: str = CLIENT_ADDRESSES[0]
    https_only: bool = False
    https_port: int = 443


def read(given: Mapping[str, str]) -> Settings:
    """Return the checked settings. Raises BadSettingError."""
    return Settings(
        method=_method(given.get("LB_METHOD") or "least_conn"),
        upstreams=_upstreams(given.get("LB_UPSTREAMS") or "web=1"),
        hosts=_hosts(given.get("ALLOWED_HOSTS", "")),
        max_body_bytes=_number(given, "MAX_BODY_BYTES", "1048576", "a whole number of bytes"),
        max_in_flight=_number(given, "MAX_IN_FLIGHT", "32", "a whole number of requests"),
        trusted_proxies=_networks(given.get("TRUSTED_PROXIES", "")),
        https_only=_flag("HTTPS_ONLY", given.get("HTTPS_ONLY") or "0"),
        https_port=_port("HTTPS_PORT", given.get("HTTPS_PORT") or "443"),
        client_address=_client_address(given.get("CLIENT_ADDRESS") or CLIENT_ADDRESSES[0]),
    )


def parse(text: str) -> dict[str, str]:
    """Return the values by name. A line is NAME=VALUE; the value is literal."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def load() -> tuple[Settings, dict[str, str]]:
    """Return the settings of /etc/lb, and certificate and key by name. Raises BadSettingError."""
    return read(parse(_file("settings"))), _pair()


def _pair() -> dict[str, str]:
    pair = {name: _file(name) for name in ("tls_certificate", "tls_key")}
    try:  # nginx itself accepts a key of another type than the certificate's
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(FROM / "tls_certificate", FROM / "tls_key")
    except ssl.SSLError as error:
        raise BadSettingError(f"certificate and key do not match: {error.reason or error}") from error
    return pair


def _file(name: str) -> str:
    try:
        return (FROM / name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise BadSettingError(f"{FROM / name}: {reason}; 'make up' writes it") from error


def _method(value: str) -> str:
    if value not in METHODS:
        raise BadSettingError.value("LB_METHOD", value, f"must be one of {', '.join(METHODS)}")
    return value


def _upstreams(value: str) -> dict[str, int]:
    upstreams: dict[str, int] = {}
    for part in value.split(","):
        service, _, weight = part.strip().partition("=")
        if not _SERVICE.fullmatch(service) or not re.fullmatch(r"[1-9]\d{0,2}", weight) or int(weight) > 256:
            rule = "must be service=weight[,service=weight...], a weight from 1 to 256"
            raise BadSettingError.value("LB_UPSTREAMS", value, rule)
        if service in upstreams:
            raise BadSettingError.value("LB_UPSTREAMS", value, f"names {service} twice")
        upstreams[service] = int(weight)
    return upstreams


def _hosts(value: str) -> tuple[str, ...]:
    hosts = [part.strip().lower() for part in value.split(",") if part.strip()]
    if "*" in hosts:
        return ()
    for host in hosts:
        if not _HOST.fullmatch(host):
            rule = "must be a comma-separated list of host names, .domains or *"
            raise BadSettingError.value("ALLOWED_HOSTS", value, rule)
    return tuple(dict.fromkeys(hosts))


def _networks(value: str) -> tuple[str, ...]:
    found = []
    for part in filter(None, map(str.strip, value.split(","))):
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            rule = "must be addresses or networks such as 192.0.2.0/24, separated by commas, and not all addresses"
            raise BadSettingError.value("TRUSTED_PROXIES", value, rule)
        found.append(str(network))
    return tuple(dict.fromkeys(found))


def _client_address(value: str) -> str:
    if value not in CLIENT_ADDRESSES:
        raise BadSettingError.value("CLIENT_ADDRESS", value, f"must be one of {', '.join(CLIENT_ADDRESSES)}")
    return value


def _flag(name: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise BadSettingError.value(name, value, "must be 0 or 1")
    return value == "1"


def _port(name: str, value: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", value) or int(value) > 65535:
        raise BadSettingError.value(name, value, "must be a port number")
    return int(value)


def _number(given: Mapping[str, str], name: str, usual: str, what: str) -> int:
    value = given.get(name) or usual
    if not re.fullmatch(r"[1-9]\d{0,11}", value):
        raise BadSettingError.value(name, value, f"must be {what}, at least 1")
    return int(value)
