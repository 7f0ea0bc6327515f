"""The rotation: which replicas get requests, by DNS and probes only."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

FALL = 2  # consecutive failed probes that remove a replica; one good probe adds it again


class Probe(Enum):
    """The result of one `GET /health/`."""

    GOOD = "good"
    DRAINING = "draining"  # 503: the replica wants no new requests
    FAILED = "failed"  # refused, reset, or an invalid answer
    SLOW = "slow"  # accepted, but no answer in time: it hangs, or all lack CPU time


@dataclass
class Replica:
    """One address: its weight, its consecutive failures, and whether it gets requests."""

    weight: int
    listed: bool = True  # the name server confirmed it in this round
    failures: int = 0
    serving: bool = False  # not before its first good probe
    slow: bool = False  # removed for slowness only


class Rotation:
    """The known replicas, by address."""

    def __init__(self) -> None:
        self.replicas: dict[str, Replica] = {}

    def resolved(self, answers: Mapping[str, set[str] | None], weights: Mapping[str, int]) -> None:
        """Update the addresses of every service; None means that the name server did not answer.

        An address that is no longer listed is removed at once. Without an answer a replica stays
        while its probes are good: a name server that is down must not empty the site.
        """
        known: dict[str, Replica] = {}
        unanswered = {service for service, addresses in answers.items() if addresses is None}
        for service, addresses in answers.items():
            for address in addresses or ():
                known[address] = self.replicas.get(address) or Replica(weights[service])
                known[address].weight = weights[service]
                known[address].listed = True
        if unanswered:
            for address, replica in self.replicas.items():
                if address not in known and replica.serving:
                    replica.listed = False
                    known[address] = replica
        self.replicas = known

    def probed(self, address: str, probe: Probe) -> None:
        """Update a replica with the result of one probe."""
        replica = self.replicas[address]
        if probe is Probe.GOOD:
            replica.failures, replica.serving, replica.slow = 0, True, False
            return
        replica.failures = FALL if probe is Probe.DRAINING else replica.failures + 1
        slow = probe is Probe.SLOW
        if replica.failures < FALL or (slow and replica.serving and self._half_are_slow()):
            return
        replica.slow = slow and (replica.serving or replica.slow)
        replica.serving = False

    def _half_are_slow(self) -> bool:
        """Return whether half of the replicas are already removed for slowness.

        Removing more would overload the others, which would be slow next.
        """
        return 2 * (sum(one.slow for one in self.replicas.values()) + 1) > len(self.replicas)

    def serving(self) -> dict[str, int]:
        """Return address and weight of every replica that gets requests.

        If no replica is healthy, all listed ones get requests: their own 503, or a retry, is
        better than a site cut off by a false alarm.
        """
        fit = {address: replica.weight for address, replica in self.replicas.items() if replica.serving}
        if fit:
            return fit
        return {address: replica.weight for address, replica in self.replicas.items() if replica.listed}
