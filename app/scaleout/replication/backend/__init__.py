"""Django's PostgreSQL backend, with a pool for each server: `ENGINE =
"scaleout.replication.backend"`.
"""
