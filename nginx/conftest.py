"""Puts this folder on the path of pytest, so that the tests import `watcher` as the image does."""
