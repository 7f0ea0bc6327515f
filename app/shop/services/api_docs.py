"""`/api/docs`: the operations of all services on one page, from one OpenAPI document.

The page is static. The document merges the services' documents: it names a service that does not
answer in time as missing.
"""

from __future__ import annotations

import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from scaleout.caching import multi_level_cache
from scaleout.cdn import public
from scaleout.gateway import gateway

SECONDS = 0.5  # per service: three in sequence end before the load balancer's 2 s
KEPT = 10  # seconds


@multi_level_cache(timeout=KEPT)
def _document() -> str:
    merged, missing = gateway().documents(SECONDS)
    text = "The operations of all services. `POST /api/users/token` gives the token that *Authorize* asks for."
    if missing:
        text += f"\n\n**Missing, since the service did not answer: {', '.join(missing)}.**"
    info = {"title": "API", "version": "1.0.0", "description": text}
    return json.dumps(merged | {"info": info})


@require_safe
@public(max_age=KEPT, browser=KEPT)
def document(request: HttpRequest) -> HttpResponse:
    """Answer with the merged document."""
    return HttpResponse(_document(), content_type="application/json")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Answer with the page. Its policy allows files of this site only."""
    files = f"'self' {settings.STATIC_URL.removesuffix('/static/')}".strip()
    answer = render(request, "services/api_docs.html")
    answer["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {files}; style-src {files} 'unsafe-inline'; img-src {files} data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return answer
