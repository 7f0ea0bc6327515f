"""A `requests.Session` that calls services by their names, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import requests
from requests.structures import CaseInsensitiveDict

from scaleout.gateway.client.adapter import MOST, ServiceAdapter
from scaleout.gateway.client.service import Service


class ServiceSession(requests.Session):
    """Call `http://<service>/<path>`, with the interface of requests.

    No other URL can be called. Nothing is taken from the environment: no proxy, no .netrc. A
    redirect is an answer, and is not followed. Cookies of an answer are not kept. The headers are
    those of the call, and `Accept-Encoding: identity` unless the call says otherwise.

    Threads may share it: a request writes nothing to the session, and each thread has connections
    of its own.
    """

    def __init__(self, services: Iterable[Service], most: int = MOST) -> None:
        super().__init__()
        self.trust_env = False
        self.headers = CaseInsensitiveDict({"Accept-Encoding": "identity"})
        self.adapters.clear()
        for service in services:
            self.mount(f"http://{service.name}/", ServiceAdapter(service, most))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target: where an answer leads is nothing that a caller was allowed to call."""
