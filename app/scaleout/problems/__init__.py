"""Errors as RFC 9457 problem details."""

from scaleout.problems.preconditions import require_match
from scaleout.problems.responses import Problem, problem_response

__all__ = ["Problem", "problem_response", "require_match"]
