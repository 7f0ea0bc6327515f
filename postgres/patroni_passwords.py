#!/usr/bin/python3
"""Set roles' passwords from their secrets: `patroni_passwords.py ROLE=SECRET...`, on the primary.

The server gets a SCRAM verifier that libpq computes here, so neither a statement nor a log has the
password. A role with the right password is unchanged. Patroni creates a missing role.
"""

import base64
import hashlib
import hmac
import os
import re
import sys

import psycopg2  # type: ignore[import-untyped]
from patroni_entrypoint import secret
from psycopg2 import sql
from psycopg2.extensions import encrypt_password  # type: ignore[import-untyped]

ALGORITHM = "scram-sha-256"
VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.+")


def has(verifier: str | None, password: str) -> bool:
    """Return whether `verifier` belongs to `password` (RFC 5802, section 3).

    False for a password that SASLprep could change.
    """
    match = VERIFIER.fullmatch(verifier or "")
    if match is None or not password.isascii():
        return False
    iterations, salt, stored = int(match[1]), base64.b64decode(match[2]), base64.b64decode(match[3])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return hmac.compare_digest(key, stored)


def main() -> None:
    """Check each role, and change the passwords that differ. libpq's variables name the server."""
    connection = psycopg2.connect(host=os.environ["PGHOST"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        for word in sys.argv[1:]:
            role, _, name = word.partition("=")
            password = secret(name)
            cursor.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role])
            row = cursor.fetchone()
            if row is None or has(row[0], password):
                continue
            verifier = encrypt_password(password, role, scope=connection, algorithm=ALGORITHM)
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
            cursor.execute(statement)
            print(f"postgres: the password of {role} is now that of the secret {name}", flush=True)
    connection.close()


if __name__ == "__main__":
    main()
