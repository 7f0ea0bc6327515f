"""Which replicas get requests, from names and probes alone."""

from watcher.rotation import Probe, Rotation

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
WEIGHTS = {"web": 1}


def rotation(*addresses: str) -> Rotation:
    """A rotation in which every address has passed a probe."""
    made = Rotation()
    made.resolved({"web": set(addresses)}, WEIGHTS)
    for address in addresses:
        made.probed(address, Probe.GOOD)
    return made


def test_a_new_replica_serves_only_after_a_good_probe() -> None:
    fleet = rotation(A)
    fleet.resolved({"web": {A, B}}, WEIGHTS)
    assert set(fleet.serving()) == {A}
    fleet.probed(B, Probe.GOOD)
    assert set(fleet.serving()) == {A, B}


def test_one_failed_probe_is_forgiven_and_two_are_not() -> None:
    fleet = rotation(A, B)
    fleet.probed(A, Probe.FAILED)
    assert set(fleet.serving()) == {A, B}
    fleet.probed(A, Probe.FAILED)
    assert set(fleet.serving()) == {B}


def test_a_good_probe_in_between_starts_the_count_again() -> None:
    fleet = rotation(A, B)
    for probe in (Probe.FAILED, Probe.GOOD, Probe.FAILED):
        fleet.probed(A, probe)
    assert set(fleet.serving()) == {A, B}


def test_a_draining_replica_is_out_at_once_and_back_after_one_good_probe() -> None:
    fleet = rotation(A, B)
    fleet.probed(A, Probe.DRAINING)
    assert set(fleet.serving()) == {B}
    fleet.probed(A, Probe.GOOD)
    assert set(fleet.serving()) == {A, B}


def probed(fleet: Rotation, probe: Probe, *addresses: str) -> None:
    """Let each fail as often as removes a replica."""
    for address in addresses * 2:
        fleet.probed(address, probe)


def test_of_three_replicas_that_are_slow_one_is_out() -> None:
    fleet = rotation(A, B, C)
    probed(fleet, Probe.SLOW, A, B, C)
    assert set(fleet.serving()) == {B, C}
    fleet.probed(A, Probe.GOOD)
    fleet.probed(B, Probe.SLOW)
    assert set(fleet.serving()) == {A, C}


def test_two_of_four_slow_replicas_are_out() -> None:
    fleet = rotation(A, B, C, "10.0.0.4")
    probed(fleet, Probe.SLOW, A, B, C, "10.0.0.4")
    assert set(fleet.serving()) == {C, "10.0.0.4"}


def test_a_replica_that_is_gone_or_drains_is_out_however_many_are_slow() -> None:
    fleet = rotation(A, B, C)
    probed(fleet, Probe.SLOW, A)
    probed(fleet, Probe.FAILED, B)
    assert set(fleet.serving()) == {C}
    fleet.probed(C, Probe.DRAINING)
    assert not [one for one in fleet.replicas.values() if one.serving]


def test_a_replica_that_died_while_it_was_slow_leaves_its_place_to_another() -> None:
    fleet = rotation(A, B, C)
    probed(fleet, Probe.SLOW, A)
    probed(fleet, Probe.FAILED, A)
    probed(fleet, Probe.SLOW, B)
    assert set(fleet.serving()) == {C}


def test_when_no_replica_is_fit_all_that_are_listed_serve() -> None:
    fleet = rotation(A, B)
    fleet.probed(A, Probe.DRAINING)
    fleet.probed(B, Probe.FAILED)
    fleet.probed(B, Probe.FAILED)
    assert set(fleet.serving()) == {A, B}


def test_an_address_that_is_no_longer_listed_goes_at_once() -> None:
    fleet = rotation(A, B, C)
    fleet.resolved({"web": {A}}, WEIGHTS)
    assert set(fleet.serving()) == {A}


def test_no_address_at_all_leaves_no_replica() -> None:
    fleet = rotation(A)
    fleet.resolved({"web": set()}, WEIGHTS)
    assert fleet.serving() == {}


def test_a_silent_name_server_removes_only_replicas_that_fail_their_probes() -> None:
    fleet = rotation(A, B)
    fleet.resolved({"web": None}, WEIGHTS)
    assert set(fleet.serving()) == {A, B}
    for address in (A, B):
        fleet.probed(address, Probe.FAILED)
        fleet.probed(address, Probe.FAILED)
    assert fleet.serving() == {}


def test_every_replica_has_the_weight_of_its_service() -> None:
    fleet = Rotation()
    weights = {"web": 9, "web-canary": 1}
    fleet.resolved({"web": {A, B}, "web-canary": {C}}, weights)
    for address in (A, B, C):
        fleet.probed(address, Probe.GOOD)
    assert fleet.serving() == {A: 9, B: 9, C: 1}
