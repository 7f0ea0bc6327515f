"""manage.py import_catalog: import a CSV or JSON Lines file."""

import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from shop.products.imports.loader import SHOWN_MAX, BusyError, Reports, Result, load
from shop.products.imports.progress import Progress
from shop.products.imports.records import Records
from shop.products.imports.source import Source, SourceError

NOTHING_LOADED = 2


class Command(BaseCommand):
    help = """Loads products from a CSV or JSON Lines file, all in one transaction.

Columns (CSV header) or keys (JSON): sku, name, category and price are required; description, currency,
stock, featured and image_url are optional. If an optional one is absent (no column, an empty cell, null),
an existing product keeps its value; a new one gets: no description, EUR, stock 0, not featured, no image.

category is a path of slugs such as outdoor/tents; a missing category is created, named after its slug.
price is a whole number of minor units: 1299 is 12.99 EUR, or 1299 JPY.

Products are matched by SKU: a second import of a file changes nothing. If a SKU occurs twice in a file, the
last row counts. An invalid row is reported as FILE:LINE: reason, and the others are loaded.

Exit code 0: all loaded. 1: loaded, but for the rejected rows. 2: nothing loaded."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help=".csv, .jsonl or .ndjson, also with .gz or .xz after it; - is standard input")
        parser.add_argument("--format", choices=("csv", "jsonl"), help="needed for standard input")

    def handle(self, *args: Any, **options: Any) -> None:
        stderr: TextIO = options.get("stderr") or sys.stderr
        try:
            with Source(options["file"], options["format"]) as source:
                result = run(source, stderr, self.stdout)
        except SourceError as error:
            raise CommandError(f"{error}; nothing was loaded", returncode=NOTHING_LOADED) from error
        except BusyError as error:
            raise CommandError(f"{error}; nothing was loaded", returncode=NOTHING_LOADED) from error
        except DatabaseError as error:
            line = str(error).partition("\n")[0]
            raise CommandError(f"database: {line}; nothing was loaded", returncode=NOTHING_LOADED) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted; nothing was loaded", returncode=130) from None
        if result.rejected:
            sys.exit(1)


def run(source: Source, stderr: TextIO, stdout: Any) -> Result:
    """Import one source and report the result. Raises SourceError, BusyError."""
    progress = Progress(stderr, source.fraction)
    records = Records(source)
    if records.ignored:
        progress.say(f"{source.name}: unknown columns ignored: {', '.join(records.ignored)}")
    if records.absent:
        progress.say(f"{source.name}: existing products keep their {', '.join(records.absent)}")
    reports = Reports(
        rejected=lambda line, reason: progress.say(f"{source.name}:{line}: {reason}"),
        replaced=lambda line, sku, by: progress.say(f"{source.name}:{line}: SKU {sku} occurs again in line {by}"),
        waiting=lambda: progress.say("waiting for another import to end"),
        merging=lambda: progress.say(f"{progress.rows:,} rows read, merging"),
    )
    result = load(progress.watch(records), reports)
    progress.clear()
    if result.rejected > SHOWN_MAX:
        progress.say(f"{source.name}: {result.rejected - SHOWN_MAX} more rows were rejected")
    if result.replaced:
        progress.say(f"{source.name}: {result.replaced} rows were replaced by a later row with the same SKU")
    stdout.write(
        f"created {result.created}, updated {result.updated}, unchanged {result.unchanged},"
        f" rejected {result.rejected} in {progress.seconds:.1f} s"
    )
    return result
