"""Serving by a replica: request bodies, static files, warm-up, and the cache's data source."""
