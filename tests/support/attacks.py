"""Malformed and hostile requests, generated from lists of tricks: the same seed gives the same.

Each has the name of its run in its path and as its request id, so a log shows how far it came.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SERVICES = ("users", "products", "orders")


@dataclass(frozen=True)
class Attack:
    """The bytes of one connection. `asked`: a service may get it, and rejects it; no other does."""

    family: str
    request: bytes
    asked: bool = False


@dataclass
class Attacks:
    """The generator of the attacks of `run`. `token` is valid: such attacks are bad otherwise."""

    run: str
    token: str
    seed: int

    def make(self, count: int) -> Iterator[Attack]:
        """Yield `count` attacks, with each family's share."""
        shares = (
            *(self._target, self._line, self._host) * 6, *(self._header, self._frame) * 8, *(self._raw,) * 4,
            *(self._json, self._bearer) * 5, *(self._text, self._query) * 3, *(self._key,) * 2,
        )  # fmt: skip
        for number, make in enumerate(itertools.islice(itertools.cycle(shares), count)):
            self._number, self._random = number, random.Random(f"{self.seed}-{number}")
            yield make()

    # ── attacks that no service may get ───────────────────────────────────────────────────────────
    def _target(self) -> Attack:
        """A path that two parsers could read differently."""
        service = self._random.choice(SERVICES)
        parts = ["api", service, self._id("edge")]
        for _ in range(self._random.choice((1, 1, 2, 3))):
            part = self._random.choice((self._spelled(self._random.choice(SEGMENTS)), self._random.choice(NO_OCTETS)))
            parts.insert(self._random.randint(1, 2), part)
        return Attack("target", self._get("/" + "/".join(parts)))

    def _raw(self) -> Attack:
        """A byte that a target must not have."""
        path = f"/api/{self._random.choice(SERVICES)}/{self._id('edge')}".encode()
        at = self._random.randint(1, len(path) - 1)  # not at the end: more than one space before the version may pass
        return Attack("raw", self._get(path[:at] + self._random.choice(RAW) + path[at:]))

    def _line(self) -> Attack:
        """An invalid request line, or one for another host."""
        path = f"/api/{self._random.choice(SERVICES)}/{self._id('edge')}"
        line = self._random.choice(LINES).replace("PATH", path)
        return Attack("line", self._request(line.encode("latin-1")))

    def _host(self) -> Attack:
        path = f"/api/{self._random.choice(SERVICES)}/{self._id('edge')}"
        host = self._random.choice(HOSTS)
        return Attack("host", self._request(f"GET {path} HTTP/1.1".encode(), hosts=host))

    def _header(self) -> Attack:
        """Invalid, too many, or too long header fields."""
        path = f"/api/{self._random.choice(SERVICES)}/{self._id('edge')}"
        field = self._random.choice(HEADERS)
        spare = self._random.choice((b"", b"Accept: */*\r\n", b"X-Spare: 1\r\n"))
        return Attack("header", self._request(f"GET {path} HTTP/1.1".encode(), spare + field + b"\r\n"))

    def _frame(self) -> Attack:
        """Request smuggling: two parsers could see the body's end in two places."""
        service = self._random.choice(SERVICES)
        hidden = self._get(f"/api/{service}/{self._id('edge')}")
        frame = self._random.choice(FRAMES)
        head, body = frame(hidden, self._random)
        return Attack("frame", self._request(f"POST /api/unknown/{self._id('edge')} HTTP/1.1".encode(), head) + body)

    # ── attacks that a service rejects ──────────────────────────────────────────────────────────
    def _json(self) -> Attack:
        """A body that is not the expected object."""
        path = self._random.choice(("/api/users/", "/api/users/token", "/api/orders/")) + self._random.choice(SPARE)
        body = self._random.choice(BODIES)(self._random)
        return self._post("json", path, body, self._random.choice(JSON_TYPES))

    def _text(self) -> Attack:
        """A body of an unsupported type."""
        body = b'{"items": [{"product_id": 1, "quantity": 1}]}'
        path = "/api/orders/" + self._random.choice(SPARE)
        return self._post("type", path, body, self._random.choice(OTHER_TYPES))

    def _bearer(self) -> Attack:
        """An invalid token, or headers that claim a proxy has authenticated the client."""
        path = self._random.choice(("/api/users/", "/api/users/1", "/api/orders/", "/api/orders/1"))
        path += self._random.choice(SPARE)
        claim = self._random.choice(CLAIMS)
        if claim == "Authorization":
            claim = f"Authorization: {self._random.choice(('Bearer ', 'bearer ', 'Bearer  ', 'Basic '))}{self._token()}"
        return Attack("bearer", self._request(f"GET {path} HTTP/1.1".encode(), self._asked(claim)), asked=True)

    def _query(self) -> Attack:
        """An invalid cursor, limit or filter."""
        path, name, values = self._random.choice(QUERIES)
        value = self._random.choice(values)
        line = f"GET {path}?{name}={value} HTTP/1.1".encode()
        return Attack("query", self._request(line, self._asked(f"Authorization: Bearer {self.token}")), asked=True)

    def _key(self) -> Attack:
        """An order with an invalid key, or none."""
        key = self._random.choice(KEYS)
        fields = self._asked(f"Authorization: Bearer {self.token}") + key
        body = b'{"items": [{"product_id": 1, "quantity": 1}]}'
        fields += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return Attack("key", self._request(b"POST /api/orders/ HTTP/1.1", fields) + body, asked=True)

    # ── parts ─────────────────────────────────────────────────────────────────────────────────────
    def _id(self, kind: str) -> str:
        return f"{kind}-{self.run}-{self._number}"

    def _asked(self, *fields: str) -> bytes:
        lines = [f"X-Request-ID: {self._id('asked')}", *fields]
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1")

    def _get(self, target: str | bytes) -> bytes:
        target = target if isinstance(target, bytes) else target.encode("latin-1")
        return self._request(b"GET " + target + b" HTTP/1.1")

    def _post(self, family: str, path: str, body: bytes, kind: str) -> Attack:
        fields = self._asked(
            f"Authorization: Bearer {self.token}",
            f"Idempotency-Key: {self._id('key')}",
            *([f"Content-Type: {kind}"] if kind else []),
            f"Content-Length: {len(body)}",
        )
        return Attack(family, self._request(f"POST {path} HTTP/1.1".encode(), fields) + body, asked=True)

    def _request(self, line: bytes, fields: bytes = b"", hosts: bytes = b"Host: localhost\r\n") -> bytes:
        named = b"" if b"X-Request-ID" in fields else f"X-Request-ID: {self._id('edge')}\r\n".encode()
        return line + b"\r\n" + hosts + fields + named + b"Connection: close\r\n\r\n"

    def _spelled(self, text: str) -> str:
        """Return `text` with some of its percent signs encoded, and its hexadecimal digits in any
        case.
        """
        while "%" in text and self._random.random() < 0.3:
            text = text.replace("%", "%25", 1)
        return "".join(self._random.choice((char.upper(), char.lower())) for char in text)

    def _token(self) -> str:
        return self._random.choice(TOKENS)(self._random, self.token)


# ── a path's segments
SEGMENTS = [
    "..", ".", "%2e%2e", ".%2e", "%2e", "..;", ".;x", "%2e%2e;a=b", "..%3bx", "%2e%3b", "", "a%2fb", "%2f", "..%2f..",
    "%2e%2e%2fadmin", "a%5cb", "..%5c..", "\\", "..\\..", "a%00", "%00", "%00.json", "%0a", "%0d%0ax-staff:%20true",
    "%7f", "%1f", "%09",
]  # fmt: skip
NO_OCTETS = ["%zz", "a%2", "%u002e", "%", "%%", "%-1"]
# ── bytes in the middle of a target
RAW = [bytes([one]) for one in (*range(0x20), 0x7F)] + [b" ", b"  ", b"\r\n ", b"\r\nX-Staff: true\r\n ", b"\xc0\xaf"]
RAW += [bytes([one]) for one in range(0x80, 0x100)]
# ── request lines
LINES = [
    "TRACE PATH HTTP/1.1", "CONNECT PATH HTTP/1.1", "CONNECT users:8001 HTTP/1.1", "FOO PATH HTTP/1.1",
    "PROPFIND PATH HTTP/1.1", "QUERY PATH HTTP/1.1", "get PATH HTTP/1.1", "G\x00T PATH HTTP/1.1", "G@T PATH HTTP/1.1",
    f"{'A' * 300} PATH HTTP/1.1", "PATH HTTP/1.1", "GET HTTP/1.1", "GET PATH HTTP/2.0", "GET PATH HTTP/3.0",
    "GET PATH HTTP/9.9", "GET PATH HTTP/0.9", "GET PATH HTTP/1.1.1", "GET PATH HTTP/11", "GET PATH HTTP/1.",
    "GET PATH HTTP/-1.1", "GET PATH HTTQ/1.1", "GET PATH http/1.1", "GET PATH HTTP /1.1", "GET PATH XHTTP/1.1",
    "GET http://users:8001PATH HTTP/1.1", "GET http://evil:80PATH HTTP/1.1",
    "GET http://localhost@users:8001PATH HTTP/1.1", "GET http://[::1]PATH HTTP/1.1", "GET http://PATH HTTP/1.1",
    "GET ftp://usersPATH HTTP/1.1", "GET file://PATH HTTP/1.1", "GET users:8001PATH HTTP/1.1", "GET * HTTP/1.1",
    "GET @users:8001PATH HTTP/1.1", "GET :8001PATH HTTP/1.1", "GET ?PATH HTTP/1.1", "GET ..PATH HTTP/1.1",
    "GET /api/unknownPATH HTTP/1.1", "GET /api/users.orders/PATH HTTP/1.1", f"GET PATH/{'a' * 40_000} HTTP/1.1",
    f"GET PATH?{'a=b&' * 10_000} HTTP/1.1",
]  # fmt: skip
# ── hosts
HOSTS = [
    b"", b"Host: a b\r\n", b"Host:\r\n", b"Host: localhost\r\nHost: users\r\n",
    b"Host: users:8001\r\nHost: localhost\r\n", b"Host: localhost/\r\n", b"Host: localhost/../users\r\n",
    b"Host: local\x00host\r\n", b"Host: user@localhost\r\n", b"Host: localhost, users\r\n",
    b"Host: \r\nHost: localhost\r\n", b"Host: <script>\r\n", b"Host: a\\b\r\n", b"Host: [::1\r\n",
    b"Host: localhost\r\n Host: users\r\n", b"Host : localhost\r\n", b"Host: " + b"a" * 9000 + b"\r\n",
]  # fmt: skip
# ── fields
HEADERS = [
    b"X-A: a\x00b", b"\x00X-A: b", b"X-A: a\rX-Staff: true", b"X-A : b", b"X-A\t: b", b": b", b"no colon at all",
    b"X A: b", b"\x01X: b", b"X-\x7f: b", b"Transfer-Encoding : chunked", b"Content-Length : 5",
    b"Content-Length: -1", b"Content-Length: +5", b"Content-Length: 5,5", b"Content-Length: 0x5",
    b"Content-Length: 5 5", b"Content-Length: five", b"Content-Length: 1e3", b"Content-Length: 18446744073709551617",
    b"Content-Length: " + b"9" * 400, b"Content-Length: 1\r\nContent-Length: 2",
    b"Content-Length: 5\r\nTransfer-Encoding: identity", b"X-A: " + b"a" * 40_000, b"A" * 9000 + b": b",
    b"\r\n".join(b"X-%d: %s" % (n, b"a" * 400) for n in range(300)), b"\r\n".join(b"X-%d: b" % n for n in range(1200)),
]  # fmt: skip


# ── smuggled bodies: each function returns the fields and the data after them
def _cl_te(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    body = b"0\r\n\r\n" + hidden
    fields = [b"Content-Length: %d\r\n" % len(body), b"Transfer-Encoding: chunked\r\n"]
    rng.shuffle(fields)
    return b"".join(fields), body


def _te_cl(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    return b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(chunk.split(b"\r\n")[0] + b"\r\n"), chunk


def _odd_te(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    field = rng.choice(CODINGS)
    body = b"0\r\n\r\n" + hidden
    length = b"Content-Length: %d\r\n" % len(body) if rng.random() < 0.5 else b""
    return length + field + b"\r\n", body


def _two_lengths(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    lengths = [b"0", b"%d" % len(hidden)]
    rng.shuffle(lengths)
    glue = rng.choice((b"\r\nContent-Length: ", b", ", b",", b"\r\ncontent-length:", b"\r\nX: y\r\nCONTENT-LENGTH: "))
    return b"Content-Length: " + glue.join(lengths) + b"\r\n", hidden


def _bad_chunk(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    size = rng.choice(SIZES)
    return b"Transfer-Encoding: chunked\r\n", size + b"\r\n" + hidden + b"\r\n0\r\n\r\n"


def _bad_end(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    end = rng.choice((b"XX", b"\x00\r\n", b"\rX", b" \r\n", b"5\r\n", b"G"))
    return b"Transfer-Encoding: chunked\r\n", b"3\r\nabc" + end + b"0\r\n\r\n" + hidden


def _large_too(hidden: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    """More fields than a parser reads, then a body that fills every buffer."""
    body = hidden * (rng.choice((200_000, 500_000, 1_000_000)) // len(hidden))
    fields = b"".join(b"X-%d: b\r\n" % number for number in range(rng.choice((95, 99, 120))))
    return b"Content-Length: %d\r\n" % len(body) + fields, body


FRAMES: list[Callable[[bytes, random.Random], tuple[bytes, bytes]]] = [
    _large_too, _cl_te, _te_cl, _odd_te, _odd_te, _odd_te, _two_lengths, _two_lengths, _bad_chunk, _bad_chunk, _bad_end,
]  # fmt: skip
CODINGS = [
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chunked\x00", b"Transfer-Encoding: chu\x00nked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: cow", b"Transfer-Encoding: chunked;q=1",
    b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding:",
    b" Transfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked", b"\x00Transfer-Encoding: chunked",
]  # fmt: skip
SIZES = [
    b"", b"-1", b"+5", b"0x5", b"g", b"5 5", b"5;\x00", b"ffffffffffffffff", b"10000000000000005", b"f" * 300, b" 5",
    b"5\x00", b"\x0b5", b"5_0", b"\xb2", b"5.0", b"five",
]  # fmt: skip


# ── JSON bodies, none of them valid for the operation
def _deep(rng: random.Random) -> bytes:
    depth = rng.choice((200, 5_000, 100_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"items":', b"}"), (b'{"email":[', b"]}")))
    return opening * depth + (closing * depth if rng.random() < 0.5 else b"")


def _numbers(rng: random.Random) -> bytes:
    number = rng.choice((
        "9" * 5000, "-" + "9" * 30, "1e999", "-1e999", "1e-999", "NaN", "Infinity", "0.1", "1E400", "00", "0x1",
        "1_000",
    ))  # fmt: skip
    where = rng.choice(("product_id", "quantity"))
    item = {"product_id": 1, "quantity": 1, where: "@"}
    return json.dumps({"items": [item]}).replace('"@"', number).encode()


def _strings(rng: random.Random) -> bytes:
    text = rng.choice((
        r"\ud800", r"\udfff\ud800", r"a\u0000b", r"\u0000", "\x00", "\x1f", "\xff", r"\x41", r"\u12", "\x7f" * 3,
        "a" * 90_000,
    ))  # fmt: skip
    field = rng.choice(("email", "name", "password", "items", "product_id"))
    return b'{"%b": "%b"}' % (field.encode(), text.encode("latin-1"))


def _twice(rng: random.Random) -> bytes:
    field = rng.choice(("items", "email"))
    return f'{{"{field}": [], "{field}": {rng.choice(("[]", "null", "1", "{}", "true"))}}}'.encode()


def _broken(rng: random.Random) -> bytes:
    whole = b'{"email": "a@example.org", "name": "a", "password": "long enough", "items": [{"product_id": 1}]}'
    at = rng.randint(0, len(whole) - 1)
    spoilt = whole[:at] + bytes([rng.randrange(256)]) + b"\x00" + whole[at:]
    return rng.choice((whole[:at], spoilt, b"\xef\xbb\xbf" + whole))


def _shape(rng: random.Random) -> bytes:
    value: object = rng.choice((
        None, True, 0, -1, 1.5, "", "x", [], {}, [[]], [{}], {"$ne": None}, {"__proto__": {"staff": True}},
    ))  # fmt: skip
    field = rng.choice(("items", "email", "password", "is_staff", "id", "__class__"))
    return json.dumps(rng.choice((value, {field: value}, [value], {field: [value]}))).encode()


def _bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((1, 10, 1000, 50_000)))


def _large(rng: random.Random) -> bytes:
    return b" " * 1_100_000


BODIES: list[Callable[[random.Random], bytes]] = [
    *[_deep, _numbers, _strings, _twice, _broken, _shape, _bytes] * 4, _large,
]  # fmt: skip
JSON_TYPES = [
    *["application/json"] * 4, "application/json; charset=utf-16", "application/json; charset=nonsense",
    "application/json; charset=utf-8", "application/json; charset=hex", "application/json; charset*=utf-8''a%00b",
    "application/json;",
]  # fmt: skip
OTHER_TYPES = [
    "", "text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "a" * 500, "application/problem+json", "*/*",
    "json", "/", "application/json, text/plain", "application/octet-stream", "application/jsonx", "\xff/\xfe",
    "image/png", "text/plain; charset=hex", "text/plain; charset=zlib", "text/plain; charset=undefined",
    "text/plain; charset*=utf-8''a%00b", "x/y; a*=bogus''b",
]  # fmt: skip
# What may stand behind a path and asks for nothing: a query is decoded as the type says, or not at
# all.
SPARE = ["", "", "?limit=1", "?" + "&".join(["a"] * 1001)]

# ── claims of identity
CLAIMS = [
    *["Authorization"] * 12, "X-User: 1", "X-User-Id: 1", "X-Staff: true", "X-Remote-User: admin",
    "Remote-User: admin", "X-Forwarded-User: admin", "X-Auth-Request-User: admin", "X-Service: users",
    "X-Internal: true", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1",
    "Forwarded: for=127.0.0.1;host=users:8001", "X-Original-URL: /api/products/", "X-Rewrite-URL: /",
    "X-HTTP-Method-Override: DELETE", "X_USER: 1", "Cookie: sessionid=" + "a" * 32,
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Range: bytes=" + ",".join(f"{n}-" for n in range(500)), "X-Deadline: 0", "X-Deadline: -1",
    "X-Read-After: nonsense", "traceparent: 00-zz-zz-01", "Content-Type: x/y; a*=bogus''b",
    "Content-Type: text/plain; charset*=utf-8''a%00b", "Content-Type: text/plain; charset=hex",
    "Content-Type: application/json; charset=utf-8",
]  # fmt: skip


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _other_head(rng: random.Random, token: str) -> str:
    head, claims, signature = token.split(".")
    known = json.loads(base64.urlsafe_b64decode(head + "=="))
    change = rng.choice((
        {"alg": "none"}, {"alg": "None"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": None}, {"kid": "unknown"},
        {"kid": "../../etc/passwd"}, {"kid": ""}, {"kid": None}, {"kid": ["a"]}, {"kid": "' OR 1=1 --"},
        {"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}, {"typ": 5},
    ))  # fmt: skip
    return f"{_part(known | change)}.{claims}.{rng.choice((signature, ''))}"


def _other_claims(rng: random.Random, token: str) -> str:
    head, claims, signature = token.split(".")
    known = json.loads(base64.urlsafe_b64decode(claims + "=="))
    change = rng.choice((
        {"staff": True}, {"sub": "1"}, {"exp": 1}, {"exp": 10**20}, {"iss": "orders"}, {"aud": "x"}, {"nbf": 10**20},
    ))  # fmt: skip
    return f"{head}.{_part(known | change)}.{signature}"


def _flipped(rng: random.Random, token: str) -> str:
    at = rng.randrange(len(token) - 4)  # not in the last character, of which not every bit counts
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


def _cut(rng: random.Random, token: str) -> str:
    return token[: rng.randrange(len(token) - 4)]


def _odd(rng: random.Random, token: str) -> str:
    return rng.choice((
        "", ".", "..", "...", "a.b.c", "null", "undefined", "{}", "\xff\xfe", "a" * 7000, f"{token}.{token}",
        f"{token}x", token[::-1], "e30.e30.", f"{_part([])}.{_part([])}.{_part('')}",
        f"{_part({'alg': 'EdDSA'})}.{'A' * 4000}.AAAA",
    ))  # fmt: skip


TOKENS = [_other_head, _other_claims, _flipped, _cut, _odd]

# ── queries
_NUMBERS = [
    "-1", "a", "1.5", "1e3", "0x1", "9" * 30, "9" * 5000, "%00", "%ff", "true", "[]", "%e2%85%95", "1%201", "--1",
    "NaN",
]  # fmt: skip
QUERIES = [
    ("/api/orders/", "cursor", _NUMBERS), ("/api/orders/", "limit", [*_NUMBERS, "0", "100000"]),
    ("/api/orders/", "user_id", _NUMBERS),
    ("/api/products/", "cursor", ["!", "a", "%00", "%ff", "-1", "a" * 3000, "..", "MQ==x", "%25"]),
    ("/api/products/", "limit", ["0", "-1", "a", "1.5", "%00", "%d9%a1"]),
    ("/api/orders/", "a", ["&a" * 1000]), ("/api/products/", "a", ["&a" * 1000]),
    ("/api/products/", "featured", ["x", "2", "%00", "TRUE1"]), ("/api/products/", "q", ["%00", "a%00b", "a" * 201]),
]  # fmt: skip
# ── keys of an order
KEYS = [
    b"", b"Idempotency-Key:\r\n", b"Idempotency-Key: a b\r\n", b"Idempotency-Key: \xff\r\n",
    b"Idempotency-Key: \xc3\xa9\r\n", b"Idempotency-Key: " + b"a" * 256 + b"\r\n",
    b"Idempotency-Key: " + b"a" * 7000 + b"\r\n", b"Idempotency-Key: a\tb\r\n", b"Idempotency-Key: \x01\r\n",
    b"Idempotency_Key: a\r\n",
]  # fmt: skip
