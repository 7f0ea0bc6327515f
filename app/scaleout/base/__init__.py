"""What several packages of the toolkit share. It imports none of them."""

from scaleout.base.breaker import Breaker
from scaleout.base.conf import Conf
from scaleout.base.forks import PerProcess, in_child

__all__ = ["Breaker", "Conf", "PerProcess", "in_child"]
