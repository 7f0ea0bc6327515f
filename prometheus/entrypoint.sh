#!/usr/bin/env bash
# prometheus | redis-exporter | nginx-exporter
set -euo pipefail

case ${1:-prometheus} in
  prometheus)
    exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/var/lib/prometheus \
      --storage.tsdb.retention.time=7d --storage.tsdb.retention.size=2GB --web.listen-address=0.0.0.0:9090 \
      --log.level=warn
    ;;
  redis-exporter)
    # One exporter for both: Prometheus names the target, this file holds the passwords.
    printf '{"redis://redis-cache:6379": "%s", "redis://redis-queue:6379": "%s"}' \
      "$(cat /run/secrets/redis_cache)" "$(cat /run/secrets/redis_queue)" >/tmp/passwords.json
    exec prometheus-redis-exporter --redis.addr= --redis.password-file=/tmp/passwords.json \
      --connection-timeout=2s --config-command=- --web.listen-address=0.0.0.0:9121
    ;;
  nginx-exporter)
    exec prometheus-nginx-exporter --nginx.scrape-uri=http://nginx:8081/stub_status --nginx.timeout=2s \
      --web.listen-address=0.0.0.0:9113
    ;;
  *) echo "usage: prometheus | redis-exporter | nginx-exporter" >&2 && exit 64 ;;
esac
