"""The caller, for the rate limit."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest


def by_address(request: HttpRequest) -> str:
    """Return the address that the load balancer saw; of IPv6 the network, all of which a caller
    has.
    """
    text = request.META.get("HTTP_X_REAL_IP") or request.META.get("REMOTE_ADDR", "")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "address:unknown"
    if address.version == 6 and address.ipv4_mapped:  # ::ffff:192.0.2.1: a network of all of IPv4
        address = address.ipv4_mapped
    if address.version == 6:
        return f"address:{ipaddress.ip_network((address, 64), strict=False).network_address}"
    return f"address:{address}"
