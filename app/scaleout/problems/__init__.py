"""Errors as RFC 9457 problem details."""

from scaleout.base.problem import problem_response
from scaleout.problems.preconditions import require_match
from scaleout.problems.responses import Problem

__all__ = ["Problem", "problem_response", "require_match"]
