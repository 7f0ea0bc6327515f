"""python -m programs NAME: serve what programs/NAME.py measures."""

from __future__ import annotations

import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    import_module(f"programs.{sys.argv[1]}").main()
