"""manage.py debian_index: convert Debian's package index to JSON Lines."""

import json
import lzma
import zlib
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop.products import debian


class Command(BaseCommand):
    help = (
        "Prints Debian's package index (Packages files, plain or .xz, .gz, .lz4; - is standard input) as JSON"
        " Lines for import_catalog: manage.py debian_index Packages.xz | manage.py import_catalog - --format jsonl."
        " Names are unique: the first of several versions counts."
        " The index has no prices: the price is one cent for each started 10 KiB of the package."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012 -- Django's own declaration; it needs no database

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        seen: set[str] = set()
        for path in options["files"]:
            try:
                with debian.opened(path) as lines:
                    for record in debian.products(lines, seen):
                        self.stdout.write(json.dumps(record, ensure_ascii=False))
            except BrokenPipeError:
                raise CommandError("output closed by its reader") from None
            except (OSError, EOFError, lzma.LZMAError, zlib.error, debian.BadIndexError) as error:
                raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
