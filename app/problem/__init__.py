"""Errors as RFC 9457 problem details."""

from problem.responses import Problem, problem_response

__all__ = ["Problem", "problem_response"]
