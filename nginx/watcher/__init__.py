"""The watcher keeps nginx's upstream in step with Docker's DNS and the replicas' health checks."""
