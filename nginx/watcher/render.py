"""The rendered files that nginx.conf includes."""

from collections.abc import Mapping

from watcher.settings import Settings

_BALANCE = {
    "round_robin": "",
    "weighted": "",  # round robin by weight
    "least_conn": "    least_conn;\n",
    # The whole address, and consistent: a replica that comes or goes moves few clients. nginx's own ip_hash
    # looks at three of the four bytes.
    "ip_hash": "    hash $remote_addr consistent;\n",
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
    return "\n".join([*lines, "}", ""])


def replicas_conf(method: str, serving: Mapping[str, int], port: int, most: int) -> str:
    """The upstream, in an order that does not depend on the name server's; and once more for what goes first.

    A replica gets `most` requests at a time, and half as many more of those that go first. Where all have so many,
    nginx refuses at once: more would only wait, and be given up.

    max_fails=0: the probes alone take a replica out. Counting failed requests would let a few slow pages mark
    every replica as failed, and nginx then answers 502 to everybody.
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
        # Gunicorn keeps an idle connection longer, so it never closes one that nginx is about to use.
        "    keepalive 32;\n"
        "    keepalive_timeout 30s;\n"
        "    keepalive_requests 100000;\n"
        "}\n"
    )
