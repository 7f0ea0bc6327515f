"""The stack's own settings, with the bench's views in place of the shop's."""

from importlib import import_module

# The stack's settings are found in its image only.
globals().update({name: value for name, value in vars(import_module("config.settings")).items() if name.isupper()})
ROOT_URLCONF = "bench_urls"
