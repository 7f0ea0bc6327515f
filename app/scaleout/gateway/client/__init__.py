"""Calls to the replicas of a service: which replica, over which connection, how long, how many at a
time.
"""

from scaleout.gateway.client import deadline
from scaleout.gateway.client.exchange import Request
from scaleout.gateway.client.service import Policy, Service

__all__ = ["Policy", "Request", "Service", "deadline"]
