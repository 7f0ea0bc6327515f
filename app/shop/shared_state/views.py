"""State that survives any replica: a counter in the database, a session in database and cache."""

from __future__ import annotations

from contextlib import nullcontext

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from scaleout.replication import has_position, use_primary

from shop.shared_state.models import Counter

_NAME = "demo"


@csrf_exempt  # one counter for all clients: a forged request does no harm
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def counter(request: HttpRequest) -> JsonResponse:
    """Add one on POST; answer `{"count": n}`."""
    if request.method == "POST":
        return JsonResponse({"count": Counter.add(_NAME)})
    # A request that names a write (X-Read-After) may read a replica that has replayed it; any
    # other request gets the exact number from the primary.
    with nullcontext() if has_position() else use_primary():
        row = Counter.objects.filter(name=_NAME).first()
    return JsonResponse({"count": row.value if row else 0})


@never_cache
@require_safe
def session(request: HttpRequest) -> JsonResponse:
    """Count this browser's visits in its session: `{"visits": n}`."""
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return JsonResponse({"visits": visits})
