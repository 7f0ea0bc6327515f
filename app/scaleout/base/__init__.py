"""The common base of the toolkit's packages. It imports none of them."""

from scaleout.base.breaker import Breaker
from scaleout.base.conf import Conf
from scaleout.base.forks import PerProcess, in_child

__all__ = ["Breaker", "Conf", "PerProcess", "in_child"]
