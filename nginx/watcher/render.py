"""The rendered files that nginx.conf includes."""

from collections.abc import Collection, Mapping

from watcher.settings import Settings

_BALANCE = {
    "round_robin": "",
    "weighted": "",  # round robin by weight
    "least_conn": "    least_conn;\n",
    # The whole address, and consistent: a replica that comes or goes moves few clients. nginx's own
    # ip_hash looks at three of the four bytes.
    "ip_hash": "    hash $client_network consistent;\n",
}


# As nginx spells them: in small letters X-Forwarded-For would be any header, of which the first
# line counts.
_REAL_IP_HEADER = {
    "x-forwarded-for": "X-Forwarded-For",
    "cf-connecting-ip": "CF-Connecting-IP",
    "proxy-protocol": "proxy_protocol",
}

LARGE_BODIES = 32 * 1024 * 1024  # bytes of the tmpfs /bodies for those of 260 KB and more
MIDDLE_BODIES = 100


def settings_conf(settings: Settings) -> str:
    """The size and the number of bodies, and the hosts that the site answers for."""
    lines = [
        f"client_max_body_size {settings.max_body_bytes};",
        f"limit_conn large_bodies {min(65535, max(1, LARGE_BODIES // settings.max_body_bytes))};",
        f"limit_conn middle_bodies {MIDDLE_BODIES};",
        "map $host $unknown_host {",
    ]
    if settings.hosts:
        lines += ["    hostnames;", "    default 1;", *(f"    {host} 0;" for host in settings.hosts)]
    else:
        lines += ["    default 0;"]
    return "\n".join([*lines, "}", *_https(settings), ""])


def _https(settings: Settings) -> list[str]:
    """What is redirected, where to, and what browsers are to remember of it."""
    only = settings.https_only
    port = "" if settings.https_port == 443 else f":{settings.https_port}"
    return [
        f"map $client_scheme $by_http {{ default 0; http {int(only)}; }}",
        f'map "" $https_host {{ default "$host{port}"; }}',
        f'map $client_scheme $hsts {{ default ""; https "{"max-age=63072000" if only else ""}"; }}',
    ]


def trusted_conf(settings: Settings, edges: Collection[str]) -> str:
    """Whose word counts for a client's address, and which word; `edges` are the addresses of the
    CDN's containers.

    The header is read from its right end, up to the first address that is not trusted. From any
    other peer it says nothing. A balancer of connections says nothing about https, so its peers are
    none of $trusted_peer.
    """
    proxied = settings.client_address == "proxy-protocol"
    networks = [*settings.trusted_proxies, *([] if proxied else sorted(edges))]
    lines = [
        f"real_ip_header {_REAL_IP_HEADER[settings.client_address]};",
        "real_ip_recursive on;",
        *(f"set_real_ip_from {network};" for network in networks),
        "geo $realip_remote_addr $trusted_peer {",
        "    default 0;",
        *(f"    {network} 1;" for network in networks if not proxied),
        "}",
    ]
    return "\n".join([*lines, ""])


def listen_conf(settings: Settings) -> str:
    """The published ports; where connections begin with the PROXY protocol, those without it are
    refused.
    """
    proxied = " proxy_protocol" if settings.client_address == "proxy-protocol" else ""
    return f"listen 8080 default_server{proxied};\nlisten 8443 ssl default_server{proxied};\n"


def replicas_conf(method: str, serving: Mapping[str, int], port: int, most: int) -> str:
    """The upstream, in an order that does not depend on the name server's; and once more for what
    goes first.

    A replica gets `most` requests at a time, and half as many more of those that go first. Where
    all have so many, nginx refuses at once: more would only wait, and be given up.

    max_fails=0: the probes alone take a replica out. Counting failed requests would let a few slow
    pages mark every replica as failed, and nginx then answers 502 to everybody.
    """
    none = not serving
    upstreams = [
        _upstream("replicas", method, serving, port, most),
        _upstream("replicas_first", method, serving, port, most + (most + 1) // 2),
    ]
    return f"map $host $no_replica {{ default {int(none)}; }}\n" + "".join(upstreams)


def _upstream(name: str, method: str, serving: Mapping[str, int], port: int, most: int) -> str:
    weighted = method == "weighted"
    servers = [
        f"    server {address}:{port} max_fails=0 max_conns={most}{f' weight={weight}' if weighted else ''};\n"
        for address, weight in sorted(serving.items())
    ]
    if not servers:  # nginx wants one server even where $no_replica keeps requests away
        servers = ["    server 127.0.0.1:1 down;\n"]
    return (
        f"upstream {name} {{\n"
        f"    zone {name} 256k;\n"
        f"{_BALANCE[method]}"
        f"{''.join(servers)}"
        # Gunicorn keeps an idle connection longer, so it never closes one that nginx is about to
        # use.
        "    keepalive 32;\n"
        "    keepalive_timeout 30s;\n"
        "    keepalive_requests 100000;\n"
        "}\n"
    )
