"""One entry for all services: `/api/<service>/<path>` goes to that service's same path, unchanged."""
