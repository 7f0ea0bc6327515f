#!/usr/bin/env bash
# Start etcd. Before other containers can reach it, create root, and for each Patroni cluster a user
# with access to the keys of that cluster only. Their passwords are in /run/node
# (scripts/certificates.sh).
set -euo pipefail
node=/run/node
done=$ETCD_DATA_DIR/users # the hash of the passwords that etcd has
address=http://127.0.0.1:2379 # during the set-up, reachable from this container only
secured='' # whether etcd requires a user

main() {
  local file
  for file in identity.pem ca.pem root; do [[ -s $node/$file ]] || refuse "$node/$file is missing: run make up"; done
  if [[ $(users) != "$(cat "$done" 2>/dev/null)" ]]; then set_up; fi
  exec etcd
}

refuse() {
  printf 'etcd: %s\n' "$1" >&2
  exit 64
}

users() { sha256sum "$node"/root "$node"/patroni_* | sha256sum; }

set_up() {
  local server attempt file
  env -u ETCD_LISTEN_METRICS_URLS ETCD_LISTEN_CLIENT_URLS="$address" ETCD_LOG_LEVEL=error etcd &
  server=$!
  for attempt in {1..100}; do
    if as root endpoint health >/dev/null 2>&1; then break; fi
    kill -0 "$server" 2>/dev/null || refuse "exited during the set-up of its users"
    ((attempt < 100)) || refuse "unhealthy, or $node/root is not the password of its root"
    sleep 0.1 # etcd starts
    # After an earlier set-up etcd answers only to root.
    if [[ $secured ]]; then secured=''; else secured=yes; fi
  done
  if [[ -z $secured ]]; then user root; fi
  for file in "$node"/patroni_*; do admit "${file##*/}"; done
  if [[ -z $secured ]]; then
    as root user grant-role root root
    as root auth enable
  fi >/dev/null
  kill -TERM "$server"
  wait "$server" || :
  users >"$done"
  echo "etcd: users set up from $node"
}

as() ( # NAME COMMAND...
  if [[ $secured ]]; then export ETCDCTL_USER=$1 ETCDCTL_PASSWORD; ETCDCTL_PASSWORD=$(<"$node/$1"); fi
  exec etcdctl --endpoints="$address" --command-timeout=5s "${@:2}"
)

admit() { # patroni_CLUSTER: create the user, and a role of the same name
  user "$1"
  as root role get "$1" >/dev/null 2>&1 || as root role add "$1"
  as root role grant-permission --prefix=true "$1" readwrite "/service/${1#patroni_}/"
  as root user grant-role "$1" "$1"
} >/dev/null

user() { # NAME: create it, or change its password to the file's
  local how=add
  if as root user get "$1" >/dev/null 2>&1; then how=passwd; fi
  as root user "$how" "$1" --interactive=false <"$node/$1" >/dev/null
}

main
