#!/usr/bin/python3
"""Run Patroni without repeated log lines.

Patroni logs its state in every loop, here every two seconds; this logs changes only.
"""

import logging

from patroni.__main__ import main  # type: ignore[import-not-found]


class Changes(logging.Filter):
    """Pass a message only if it differs from the last one."""

    last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log `record`."""
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
