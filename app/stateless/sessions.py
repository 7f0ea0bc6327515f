"""Sessions in database and cache that never go back in time, though the cache was away for a while.

Django's `cached_db` engine writes both and reads the cache. Where the cache could not be written (Redis paused, or cut
off from this replica) it still holds the session as it was before; once it answers again, that old session is read and
then saved over the newer row. Here the browser is told so: from a failed write of the cache until a good one, a cookie
sends its reads to the database.

Nor do two who save at once, or one who saves and one who ends the session, leave another thing in the cache than in the
database: the row is locked until the cache is written. An ended session leaves its mark in the cache, so that nobody
who has read the row before puts it there again.

What is not noticed: a node of a Redis Cluster that dies after it has taken a write and before its replica has it.
"""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib.sessions.backends import cached_db, db
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.cache import BaseCache, caches
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse

COOKIE = "session_source"
# Seconds that the cache may keep a session: the most that an entry is believed which could not be taken back (a session
# that was ended while the cache was away).
CACHE_SECONDS = 300
_ENDED = {"_ended": True}  # a dictionary, which another release takes for a session that holds nothing it knows


class SessionStore(cached_db.SessionStore):
    """Django's `cached_db`, which notices a write that the cache has missed."""

    cache_is_behind = False

    def load(self) -> dict[str, Any]:
        """Return the session from the cache, or from the database where the cache has none or is behind."""
        data = None if self.cache_is_behind else self._shared().get(self.cache_key)
        if data == _ENDED:
            self._session_key = None  # as of an unknown one
            return {}
        if data is None:
            row: Any = self._get_session_from_db()  # type: ignore[attr-defined]  # not in the stubs
            data = self.decode(row.session_data) if row else {}
            if row:
                self._offer(data, self.get_expiry_age(expiry=row.expire_date))
        return data

    def save(self, must_create: bool = False) -> None:
        """Save the session in the database, then in the cache."""
        with transaction.atomic(using=router.db_for_write(self.model)):
            db.SessionStore.save(self, must_create)
            write: Any = self._shared().set  # django-redis answers True, or None where Redis gave no answer
            written = write(self.cache_key, dict(self.items()), self._cached_for(self.get_expiry_age()))
        self.cache_is_behind = written is not True

    def delete(self, session_key: str | None = None) -> None:
        """End the session, or that with this key."""
        key = session_key or self.session_key
        super().delete(key)
        if key is not None:
            self._shared().set(self.cache_key_prefix + key, _ENDED, CACHE_SECONDS)

    def _offer(self, data: dict[str, Any], age: int) -> None:
        """Give the cache what was read, unless it has the session: somebody may have saved a newer one meanwhile."""
        write: Any = self._shared().add  # False where there is one, else as above
        added = write(self.cache_key, data, self._cached_for(age))
        # What is there already says nothing new: a cache that was behind may still hold the old.
        if added is not False:
            self.cache_is_behind = added is not True

    def _shared(self) -> BaseCache:
        return caches[settings.SESSION_CACHE_ALIAS]

    def _cached_for(self, age: int) -> int:
        return min(age, CACHE_SECONDS)


class SessionMiddleware(DjangoSessionMiddleware):
    """Django's middleware, which also keeps the cookie that says that the cache is behind."""

    def process_request(self, request: HttpRequest) -> None:
        """Open the request's session."""
        super().process_request(request)
        cast(SessionStore, request.session).cache_is_behind = bool(request.COOKIES.get(COOKIE))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session and say where its next reader finds it."""
        response = super().process_response(request, response)
        behind, told = cast(SessionStore, request.session).cache_is_behind, bool(request.COOKIES.get(COOKIE))
        if behind and not told:
            response.set_cookie(
                COOKIE,
                "database",
                max_age=settings.SESSION_COOKIE_AGE,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        elif told and not behind:
            response.delete_cookie(COOKIE, samesite="Lax")
        return response
