"""What several packages of the toolkit share. It imports none of them."""

from scaleout.base.conf import Conf

__all__ = ["Conf"]
