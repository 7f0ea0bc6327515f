"""How a replica serves: the request's body, static files, warming up, and what ties the cache to
the replicas.
"""
