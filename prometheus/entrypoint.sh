#!/usr/bin/env bash
# prometheus | redis-exporter | nginx-exporter
set -euo pipefail

# Listen on the network `monitoring` only: containers of other networks are scraped, and may not
# connect.
here=$(getent ahostsv4 "${1:-prometheus}-monitoring" | head -n 1 | cut -d ' ' -f 1) || :
[[ $here ]] || { echo "no address for ${1:-prometheus}-monitoring" >&2 && exit 64; }

# A job for each of SERVICES, `name:port`, and one for all of WORKERS.
services() {
  local one
  echo 'scrape_configs:'
  for one in ${SERVICES:?}; do
    printf '  - { job_name: %s, dns_sd_configs: [{ names: [%s], type: A, port: %s, refresh_interval: 5s }] }\n' \
      "${one%:*}" "$([[ ${one%:*} == web ]] && echo web, web-canary || echo "${one%:*}")" "${one#*:}"
  done
  cat <<END
  - job_name: workers
    dns_sd_configs: [{ names: [${WORKERS// /, }], type: A, port: 8010, refresh_interval: 5s }]
    relabel_configs: [{ source_labels: [__meta_dns_name], target_label: worker }]
END
}

case ${1:-prometheus} in
  prometheus)
    services >/tmp/services.yml
    exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/var/lib/prometheus \
      --storage.tsdb.retention.time=7d --storage.tsdb.retention.size=2GB --web.listen-address="$here:9090" \
      --web.console.templates=/etc/prometheus/consoles --log.level=warn
    ;;
  redis-exporter)
    # One exporter for all servers: Prometheus names the target. The file has the passwords of the
    # user `exporter`, who may read statistics and no key. The exporter requires Prometheus's
    # password: /scrape connects to any address for any caller.
    for host in redis-cache{,-{2..6}} redis-queue{,-{2,3}}; do
      role=${host%-[0-9]}
      printf '"redis://exporter@%s:6379": "%s"\n' "$host" "$(cat "/run/secrets/${role/-/_}_exporter")"
    done | paste -sd , | sed 's/.*/{&}/' >/tmp/passwords.json
    REDIS_EXPORTER_BASIC_AUTH_USERNAME=prometheus REDIS_EXPORTER_BASIC_AUTH_PASSWORD=$(cat /run/secrets/exporter)
    printf 'user = "prometheus:%s"\n' "$REDIS_EXPORTER_BASIC_AUTH_PASSWORD" >/tmp/curlrc # for the health check
    export REDIS_EXPORTER_BASIC_AUTH_USERNAME REDIS_EXPORTER_BASIC_AUTH_PASSWORD
    exec prometheus-redis-exporter --redis.addr= --redis.user=exporter --redis.password-file=/tmp/passwords.json \
      --connection-timeout=2s --config-command=- --web.listen-address="$here:9121"
    ;;
  nginx-exporter)
    exec prometheus-nginx-exporter --nginx.scrape-uri=http://nginx:8081/stub_status --nginx.timeout=2s \
      --web.listen-address="$here:9113"
    ;;
  *) echo "usage: prometheus | redis-exporter | nginx-exporter" >&2 && exit 64 ;;
esac
