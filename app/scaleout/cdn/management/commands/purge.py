"""manage.py purge: remove what has a tag, or one URL, from the CDN."""

from __future__ import annotations

import http.client
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scaleout.cdn import purging
from scaleout.cdn.conf import conf
from scaleout.cdn.tags import EVERYTHING, written


class Command(BaseCommand):
    help = """Removes each URL from the CDN, and every answer that has one of the tags ("*": everything).

Sends each purge twice, as a change does: at once, and again when no older answer is under way."""
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", nargs="*", help="as a visitor asks for it: https://site.example/news/7")
        parser.add_argument("--tag", action="append", default=[], help="such as news:7; may be given several times")

    def handle(self, *_args: Any, **options: Any) -> None:
        if not conf().purge_url:
            raise CommandError("CDN['PURGE_URL'] is empty: set it to the address of the CDN")
        try:
            wrong = {purging.of_url(one) for one in options["url"]}
        except ValueError as error:
            raise CommandError(str(error)) from error
        wrong |= {one if one == EVERYTHING else written(one) for one in options["tag"]}
        if not wrong:
            raise CommandError("nothing to purge: name a URL or a --tag")
        edge = purging.Edge(conf().purge_url, conf().purge_secret)
        try:
            edge.purge(wrong)
            time.sleep(purging.AGAIN)  # purging.py says why
            edge.purge(wrong)
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"purge failed: {error}") from error
        finally:
            edge.close()
        self.stdout.write(f"purged {len(wrong)}")
