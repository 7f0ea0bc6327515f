#!/usr/bin/env bash
# What the load balancer takes by reload: its settings and its certificate, in secrets/lb-<project>/
# (docs/tls.md).
#   lb.sh write   write the directory; a load balancer reads it when it starts
#   lb.sh apply   write, and reload if the load balancer has not read these values yet
#   lb.sh reload  make reload-lb: write, and reload in any case
#   lb.sh show    say what certificate is served
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

main() {
  load_settings
  dir=$root/secrets/lb-$COMPOSE_PROJECT_NAME
  reloaded=$state_dir/lb-$COMPOSE_PROJECT_NAME # its time is that of the last reload
  certificate=$(setting TLS_CERTIFICATE "$root/secrets/tls_certificate")
  key=$(setting TLS_KEY "$root/secrets/tls_key")
  "$1"
}

# Of the first certificate of a file, which is the site's own; its chain comes behind it.
field() { openssl x509 -noout "-$1" -in "$2" | sed 's/^[a-zA-Z]*= *//'; }

write() {
  mkdir -p "$dir"
  chmod 755 "$dir"
  put settings <<TEXT
LB_METHOD=$(setting LB_METHOD least_conn)
LB_UPSTREAMS=$(setting LB_UPSTREAMS web=1)
ALLOWED_HOSTS=$(setting ALLOWED_HOSTS '')
MAX_BODY_BYTES=$(setting MAX_BODY_BYTES 1048576)
MAX_IN_FLIGHT=$(($(setting WEB_WORKERS 2) * $(setting WEB_THREADS 4) * 4))
TRUSTED_PROXIES=$(setting TRUSTED_PROXIES '')
CLIENT_ADDRESS=$(setting CLIENT_ADDRESS x-forwarded-for)
HTTPS_ONLY=$(setting HTTPS_ONLY 0)
HTTPS_PORT=$HTTPS_PORT
TEXT
  put tls_certificate <"$certificate"
  put tls_key <"$key"
}

# put NAME: standard input becomes $dir/NAME, whole or not at all. The directory's time is that of
# the last change.
put() {
  local temporary
  temporary=$(mktemp "$root/secrets/.lb.XXXXXX")
  cat >"$temporary"
  chmod 444 "$temporary"
  if cmp -s "$temporary" "$dir/$1"; then rm -f "$temporary"; else mv -f "$temporary" "$dir/$1"; fi
}

apply() {
  keep
  write
  [[ $reloaded -nt $dir ]] || started_after_change || use
  drop
}

reload() {
  check_settings
  take_lock "make reload-lb" 600 # a renewal hook waits for a deploy that is under way
  [[ -n $(container) ]] || fail "no $LB runs: run make up first"
  keep
  write
  use
  drop
}

container() {
  docker ps --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter "label=com.docker.compose.service=$LB" --filter label=com.docker.compose.oneoff=False
}

started_after_change() {
  local started
  started=$(date --date "$(docker inspect --format '{{.State.StartedAt}}' "$(container)")" +%s)
  ((started > $(stat --format %Y "$dir")))
}

use() {
  step "Reloading $LB"
  if ! quietly "$state_dir/reload.log" timeout 60 docker compose exec -T "$LB" reload; then
    # What was refused must not be what the next start reads.
    if [[ -d $before/lb ]]; then cp --preserve=mode --remove-destination "$before"/lb/* "$dir/"; fi
    drop
    fail "$LB refused the new values and keeps the old ones"
  fi
  touch "$reloaded"
}

keep() {
  before=$(mktemp -d "$root/secrets/.before.XXXXXX")
  if [[ -d $dir ]]; then cp -rp "$dir" "$before/lb"; fi
}
drop() { rm -rf "$before"; }

show() {
  local served=$dir/tls_certificate until days
  [[ -s $served ]] || return 0
  until=$(field enddate "$served")
  days=$((($(date --date "$until" +%s) - $(date +%s)) / 86400))
  if [[ $(field subject "$served") == "$(field issuer "$served")" ]]; then
    echo "certificate: self-signed ($(field subject "$served")), until $until; for your own see docs/tls.md"
  else
    echo "certificate: $(field subject "$served"), issued by $(field issuer "$served"), until $until"
  fi
  ((days >= 14)) || echo "warning: the certificate expires in $days days"
  if [[ -r $certificate ]] && ! cmp -s "$certificate" "$served"; then
    echo "warning: $certificate has changed: make reload-lb serves it"
  fi
}

main "$1"
