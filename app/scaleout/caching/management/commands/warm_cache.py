"""manage.py warm_cache: compute cached values that are missing or about to expire."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scaleout.caching import warming


class Command(BaseCommand):
    """Run the registered warmers."""

    help = "Computes what is missing in the cache or about to expire, several values at a time."
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's own declaration

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("warmers", nargs="*", metavar="WARMER", help="names of warmers; all by default")
        parser.add_argument(
            "--margin", type=float, default=warming.MARGIN, help="seconds before the end: default %(default)s"
        )
        parser.add_argument("--at-once", type=int, default=warming.AT_ONCE, help="default %(default)s")
        parser.add_argument("--seconds", type=float, default=60.0, help="begin nothing after this; default %(default)s")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Warm, and report the result."""
        if unknown := set(options["warmers"]) - set(warming.names()):
            known = ", ".join(warming.names())
            raise CommandError(f"no warmer {', '.join(sorted(unknown))}; there are: {known}", returncode=64)
        if options["at_once"] < 1:
            raise CommandError("--at-once must be 1 or more", returncode=64)
        stderr: TextIO = options.get("stderr") or sys.stderr
        shown = stderr.isatty() if hasattr(stderr, "isatty") else False

        def progress(done: int, total: int) -> None:
            if shown:
                stderr.write(f"\r{done} of {total}" + ("\n" if done == total else ""))

        began = time.monotonic()
        outcomes = warming.warm(
            options["warmers"],
            margin=options["margin"],
            at_once=options["at_once"],
            seconds=options["seconds"],
            progress=progress,
        )
        for one in outcomes:
            self.stdout.write(
                f"{one.name}: computed {one.computed}, warm {one.warm}, failed {one.failed}, not begun {one.late}"
            )
        self.stdout.write(f"done in {time.monotonic() - began:.1f} s")
        if any(one.failed or one.late for one in outcomes):
            raise CommandError("some values could not be computed: see the log", returncode=1)
