#!/usr/bin/env bash
# lb.sh write: put what the load balancer reads into secrets/lb-PROJECT: its settings, the certificate and the key.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

dir=$root/secrets/lb-$COMPOSE_PROJECT_NAME

put() { # put NAME: standard input becomes the file, whole or not at all
  local temporary
  temporary=$(mktemp "$dir/.$1.XXXXXX")
  cat >"$temporary"
  chmod 444 "$temporary"
  mv "$temporary" "$dir/$1"
}

write() {
  mkdir -p "$dir"
  chmod 755 "$dir" # a load balancer reads it as a user of its own; secrets/ keeps the users of this machine out
  printf '%s=%s\n' \
    LB_METHOD "$(setting LB_METHOD least_conn)" \
    LB_UPSTREAMS "$(setting LB_UPSTREAMS web=1)" \
    ALLOWED_HOSTS "$(setting ALLOWED_HOSTS '')" \
    MAX_BODY_BYTES "$(setting MAX_BODY_BYTES 1048576)" | put settings
  local name
  for name in tls_certificate tls_key; do
    put "$name" <"$(setting "${name^^}" "secrets/$name")"
  done
}

"$1"
