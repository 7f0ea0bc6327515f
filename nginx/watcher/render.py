"""The rendered files that nginx.conf includes."""

from collections.abc import Collection, Mapping

from watcher.settings import Settings

_BALANCE = {
    "round_robin": "",
    "weighted": "",  # round robin by weight
    "least_conn": "    least_conn;\n",
    # A consistent hash of the whole address: a new or removed replica moves few clients. nginx's
    # ip_hash uses only three of the four bytes.
    "ip_hash": "    hash $client_network consistent;\n",
}


# In nginx's spelling. In lower case X-Forwarded-For would be an ordinary header, of which only the
# first line counts.
_REAL_IP_HEADER = {
    "x-forwarded-for": "X-Forwarded-For",
    "cf-connecting-ip": "CF-Connecting-IP",
    "proxy-protocol": "proxy_protocol",
}

LARGE_BODIES = 32 * 1024 * 1024  # bytes of the tmpfs /bodies for bodies of 260 KB and more
MIDDLE_BODIES = 100


def settings_conf(settings: Settings) -> str:
    """Return the limits of bodies, the hosts of the site, and the redirects to HTTPS."""
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
    """Return the maps of the redirect to HTTPS and of HSTS."""
    only = settings.https_only
    port = "" if settings.https_port == 443 else f":{settings.https_port}"
    return [
        f"map $client_scheme $by_http {{ default 0; http {int(only)}; }}",
        f'map "" $https_host {{ default "$host{port}"; }}',
        f'map $client_scheme $hsts {{ default ""; https "{"max-age=63072000" if only else ""}"; }}',
    ]


def trusted_conf(settings: Settings, edges: Collection[str]) -> str:
    """Return the trusted proxies, and the header in which they send the client's address.

    `edges` are the addresses of the CDN's containers. nginx reads the header from the right, up to
    the first untrusted address; it ignores the header of any other peer. The PROXY protocol has no
    scheme, so its peers are not in $trusted_peer.
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
    """Return the published ports. With the PROXY protocol nginx rejects connections without it."""
    proxied = " proxy_protocol" if settings.client_address == "proxy-protocol" else ""
    return f"listen 8080 default_server{proxied};\nlisten 8443 ssl default_server{proxied};\n"


def replicas_conf(method: str, serving: Mapping[str, int], port: int, most: int) -> str:
    """Return the upstream, sorted by address, and a second one for requests with priority.

    A replica gets `most` requests at a time; half as many more with priority. When all replicas
    are full, nginx rejects at once: a queued request would time out.

    max_fails=0: only the probes remove a replica. If failed requests counted, a few slow pages
    could mark every replica as failed, and nginx would answer 502 to all clients.
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
    if not servers:  # nginx needs one server, though $no_replica stops all requests
        servers = ["    server 127.0.0.1:1 down;\n"]
    return (
        f"upstream {name} {{\n"
        f"    zone {name} 256k;\n"
        f"{_BALANCE[method]}"
        f"{''.join(servers)}"
        # Gunicorn keeps idle connections longer, so it never closes one that nginx is about to use.
        "    keepalive 32;\n"
        "    keepalive_timeout 30s;\n"
        "    keepalive_requests 100000;\n"
        "}\n"
    )
