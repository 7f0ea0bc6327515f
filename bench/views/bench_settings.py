"""The stack's own settings, with the bench's views in place of the shop's."""

from config.settings import *  # noqa: F403 - all of them

ROOT_URLCONF = "bench_urls"
