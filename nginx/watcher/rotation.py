"""Which replicas get requests: decided from names, probes and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

FALL = 2  # failed probes in a row that take a replica out; one good probe brings it back


class Probe(Enum):
    """What one `GET /health/` found."""

    GOOD = "good"
    DRAINING = "draining"  # 503: the replica asks to be left alone
    FAILED = "failed"  # refused, reset, or an answer that makes no sense
    SLOW = "slow"  # it took the connection and did not answer in time: it hangs, or all are short of CPU time


@dataclass
class Replica:
    """One address: its weight, its failed probes in a row, and whether it may have requests."""

    weight: int
    listed: bool = True  # the name server confirmed it in this round
    failures: int = 0
    serving: bool = False  # not before its first good probe
    slow: bool = False  # out for being slow only


class Rotation:
    """The known replicas, by address."""

    def __init__(self) -> None:
        self.replicas: dict[str, Replica] = {}

    def resolved(self, answers: Mapping[str, set[str] | None], weights: Mapping[str, int]) -> None:
        """Take the addresses of every service; None means that the name server did not answer for
        it.

        An address that is no longer listed goes at once. Where there was no answer, a replica stays
        for as long as its probes are good: a name server that is down must not empty the site.
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
        """Take the result of one probe."""
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
        """Return whether half of the replicas are out for being slow: then the others get too much,
        and are next.
        """
        return 2 * (sum(one.slow for one in self.replicas.values()) + 1) > len(self.replicas)

    def serving(self) -> dict[str, int]:
        """Address to weight of every replica that gets requests.

        When no replica is fit, all that are listed get requests: their own 503 or a retry is better
        than a site cut off by a false alarm.
        """
        fit = {address: replica.weight for address, replica in self.replicas.items() if replica.serving}
        if fit:
            return fit
        return {address: replica.weight for address, replica in self.replicas.items() if replica.listed}
