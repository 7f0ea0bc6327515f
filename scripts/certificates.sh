#!/usr/bin/env bash
# The stack's own CA, and what etcd and each database node have of it: in secrets/nodes/<name>/,
# mounted at /run/node.
#   ca.pem        the CA to trust          identity.pem  its own key and certificate, in one file: replaced at once
#   patroni_*     the password of its cluster: of the user in etcd, and for orders to Patroni. etcd has all, and its own root's
# Existing ones are kept, and renewed when less than RENEW_BEFORE seconds are left. The CA's key is
# in no container.
#   certificates.sh write    make what is missing or ends soon
#   certificates.sh rotate   make rotate-certs: all of them new, and used by what runs; the CA and the passwords stay
#   certificates.sh show     say when the first one ends
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

dir=$root/secrets
nodes=$dir/nodes
# A year and a month: only `make up`, `make deploy` and `make rotate-certs` renew, and a failover
# must not depend on one of them within 90 days. A key is in one container and in no image; to read
# it, an attacker must already control that node.
DAYS=397
RENEW_BEFORE=$((60 * 86400))

main() {
  load_settings # names of nodes become names of folders: a wrong one ends it here
  "$1"
}

# The nodes of compose.yaml, and those that the settings add.
names() {
  local extra
  extra=$(setting EXTRA_REPLICAS),$(setting EXTRA_SHARDS)
  printf '%s\n' etcd postgres-{1,2,3,4} shard-{1,2,3} dev "${extra//,/$'\n'}" | awk 'NF && !seen[$0]++'
}

write() {
  local name cluster
  have openssl || fail "openssl is needed to make keys and certificates: install it and try again"
  mkdir -p "$nodes"
  ca
  while read -r name; do
    mkdir -p "$nodes/$name"
    chmod 755 "$nodes/$name"
    cmp -s "$dir/ca_certificate" "$nodes/$name/ca.pem" || put "$nodes/$name/ca.pem" <"$dir/ca_certificate"
    current "$nodes/$name/identity.pem" || identity "$name"
    cluster=patroni_$name
    if [[ ,postgres-1,postgres-2,postgres-3,$(setting EXTRA_REPLICAS),postgres-4, == *",$name,"* ]]; then cluster=patroni_main; fi
    if [[ $name == etcd ]]; then cluster=root; fi
    password "$cluster"
    put "$nodes/$name/$cluster" <"$nodes/etcd/$cluster"
  done < <(names)
}

ca() {
  if [[ -s $dir/ca_key && -s $dir/ca_certificate ]]; then return; fi
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 | put "$dir/ca_key" 400
  openssl req -x509 -new -key "$dir/ca_key" -days 3650 -subj "/CN=scale-out $(date +%F)" \
    -addext basicConstraints=critical,CA:true,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign | put "$dir/ca_certificate"
}

# current FILE: whether it is of this CA and does not end soon.
current() {
  [[ -s $1 ]] && openssl x509 -noout -checkend "$RENEW_BEFORE" -in "$1" >/dev/null \
    && openssl verify -CAfile "$dir/ca_certificate" "$1" >/dev/null 2>&1
}

# identity NAME: a new key, and a certificate for the names under which others call it. Without a
# common name, which etcd would take for a user, and refuse.
identity() {
  local name=$1 host=$1 key
  if [[ $name == dev ]]; then host=postgres-1; fi # make dev: one server, of another cluster
  key=$(openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1)
  {
    printf '%s\n' "$key"
    openssl req -new -key <(printf '%s\n' "$key") -subj "/O=$name" \
      | openssl x509 -req -days "$DAYS" -CA "$dir/ca_certificate" -CAkey "$dir/ca_key" -set_serial "0x1$(openssl rand -hex 15)" \
        -extfile <(printf '%s\n' basicConstraints=critical,CA:false keyUsage=critical,digitalSignature \
          extendedKeyUsage=serverAuth,clientAuth "subjectAltName=DNS:$host,DNS:$host.data,DNS:node,DNS:localhost,IP:127.0.0.1") 2>/dev/null
  } | put "$nodes/$name/identity.pem"
}

password() { # USER: of etcd
  [[ -s $nodes/etcd/$1 ]] || openssl rand -hex 24 | put "$nodes/etcd/$1"
}

# etcd reads its file at each handshake. Patroni reads it when it is asked to; PostgreSQL and its
# connections stay.
rotate() {
  local id service
  take_lock "make rotate-certs"
  [[ -s $dir/ca_key ]] || fail "there is no secrets/ca_key: run make up first"
  RENEW_BEFORE=$((DAYS * 2 * 86400))
  write
  local running
  running=$(docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --format '{{.ID}} {{.Label "com.docker.compose.service"}}')
  while read -r id service; do
    if [[ $service == postgres-* || $service == shard-* ]]; then docker kill --signal HUP "$id" >/dev/null </dev/null; fi
  done <<<"$running"
  while read -r id service; do
    if [[ $service == postgres-* || $service == shard-* || $service == etcd ]]; then used "$id" "$service"; fi
  done <<<"$running"
  show
}

# used CONTAINER SERVICE: wait until it serves the certificate of its file, for at most 30 s.
used() {
  local attempt name=$2 port=8008 served=none wanted
  if [[ $2 == etcd ]]; then port=2379; fi
  if dev_runs && [[ $2 == postgres-1 ]]; then name=dev; fi
  wanted=$(openssl x509 -noout -serial -in "$nodes/$name/identity.pem")
  for attempt in {1..60}; do
    # shellcheck disable=SC2016 # expanded in the container
    served=$(docker exec "$1" bash -c 'timeout 2 openssl s_client -connect "127.0.0.1:$1" -cert /run/node/identity.pem \
      -key /run/node/identity.pem </dev/null 2>/dev/null | openssl x509 -noout -serial' - "$port" </dev/null 2>/dev/null || :)
    if [[ $served == "$wanted" ]]; then say "    $2 uses its new certificate" && return; fi
    sleep 0.5 # Patroni starts its server again in its next loop
  done
  fail "$2 still serves another certificate after $attempt attempts: docker compose restart $2"
}

# put FILE [MODE]: standard input becomes FILE, whole or not at all.
put() {
  local temporary
  temporary=$(mktemp "$dir/.put.XXXXXX")
  cat >"$temporary"
  chmod "${2:-444}" "$temporary"
  if cmp -s "$temporary" "$1"; then rm -f "$temporary"; else mv -f "$temporary" "$1"; fi
}

# The one that ends first.
show() {
  local one first='' until days
  for one in "$nodes"/*/identity.pem; do
    [[ -s $one ]] || return 0
    until=$(date --date "$(openssl x509 -noout -enddate -in "$one" | cut -d = -f 2)" +%s)
    if [[ -z $first ]] || ((until < first)); then first=$until; fi
  done
  days=$(((first - $(date +%s)) / 86400))
  echo "internal certificates (etcd, Patroni): until $(date --utc --date "@$first" '+%F %T') UTC"
  ((days >= 30)) || echo "warning: an internal certificate expires in $days days: make rotate-certs"
}

main "$1"
