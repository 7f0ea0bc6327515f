"""Shards beside one plain database: what `test_comparison.py` drives."""
