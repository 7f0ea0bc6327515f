"""State that survives any replica: a counter in the database, a session in database and cache."""

from __future__ import annotations

from contextlib import nullcontext

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from scaleout.replication import told, use_primary

from shop.shared_state.models import Counter

_NAME = "demo"


@csrf_exempt  # it counts for everybody, whoever asks
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def counter(request: HttpRequest) -> JsonResponse:
    """POST adds one; both answer `{"count": n}`."""
    if request.method == "POST":
        return JsonResponse({"count": Counter.add(_NAME)})
    # Whoever names the write that it must see may read a replica that shows it; any other gets the
    # exact number.
    with nullcontext() if told() else use_primary():
        row = Counter.objects.filter(name=_NAME).first()
    return JsonResponse({"count": row.value if row else 0})


@never_cache
@require_safe
def session(request: HttpRequest) -> JsonResponse:
    """Count this browser's visits in its session: `{"visits": n}`."""
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return JsonResponse({"visits": visits})
