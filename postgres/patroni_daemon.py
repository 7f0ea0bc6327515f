#!/usr/bin/python3
"""Patroni, without the heartbeat: a line that says what the line before it said is not logged.

Patroni reports its state in every loop, here each two seconds; the log is for what changes.
"""

import logging

from patroni.__main__ import main  # type: ignore[import-not-found]


class Changes(logging.Filter):
    """Let a message through if it differs from the last one."""

    last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether `record` is to be logged."""
        message = record.getMessage()
        if record.levelno > logging.INFO:
            return True
        repeated = message == self.last
        self.last = message
        return not repeated


if __name__ == "__main__":
    for name in ("patroni.__main__", "patroni.ha"):
        logging.getLogger(name).addFilter(Changes())
    main()
