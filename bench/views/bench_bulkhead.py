"""The stack's own settings, without the bulkhead: any number of calls may wait for a service."""

from importlib import import_module

# The stack's settings are found in its image only.
globals().update({name: value for name, value in vars(import_module("config.settings")).items() if name.isupper()})
GATEWAY = globals()["GATEWAY"] | {"CONCURRENCY": 1000}
