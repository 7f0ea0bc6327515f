"""The project: settings, paths, WSGI and Celery."""
