#!/usr/bin/env bash
# Make the secrets that are missing, and the self-signed certificate for https. What exists is kept.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

dir=$root/secrets
# The folder keeps other users out; the files in it are readable, because each container reads
# them as a user of its own.
mkdir -p "$dir"
chmod 700 "$dir"

write() { # write NAME: standard input becomes secrets/NAME, whole or not at all
  local temporary
  temporary=$(mktemp "$dir/.$1.XXXXXX")
  cat >"$temporary"
  chmod 444 "$temporary"
  mv "$temporary" "$dir/$1"
}

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

# named PATTERN: the secrets of compose.yaml whose name is PATTERN, or the part of it in brackets.
named() { sed -nE "s#^  $1: \{ file: \./secrets/.*#\1#p" "$root/compose.yaml"; }

mapfile -t databases < <(named '(db_[a-z]+_(owner|app))')
for name in django_secret_key cache_key postgres_replicator postgres_rewind "${databases[@]}" \
  redis_cluster redis_sentinel exporter cdn_purge media_store; do
  if [[ ! -s $dir/$name ]]; then random | tr -d '\n' | write "$name"; fi
done

# A password for each user of each Redis. The servers get names and hashes only: redis_cache_acl,
# redis_queue_acl.
for role in cache queue; do
  mapfile -t users < <({ grep -o '^[a-z][a-z-]*' "$root/redis/$role.users" && named "redis_${role}_([a-z-]+)"; } | awk '$1 != "acl" && !seen[$1]++')
  for name in "${users[@]}"; do
    if [[ ! -s $dir/redis_${role}_$name ]]; then random | tr -d '\n' | write "redis_${role}_$name"; fi
  done
  {
    for name in "${users[@]}"; do
      printf '%s %s\n' "$name" "$(sha256sum <"$dir/redis_${role}_$name" | cut -d ' ' -f 1)"
    done
    # Of the release before, which had one password for all: until its containers have gone
    # (scripts/roll.sh).
    if [[ -s $dir/redis_$role ]]; then printf 'default %s\n' "$(sha256sum <"$dir/redis_$role" | cut -d ' ' -f 1)"; fi
  } >"$dir/.acl"
  if ! cmp -s "$dir/.acl" "$dir/redis_${role}_acl"; then write "redis_${role}_acl" <"$dir/.acl"; fi
  rm "$dir/.acl"
done

have openssl || fail "openssl is needed to make keys and the certificate for https: install it and try again"
# A pair for each service that signs tokens, and one for each context that signs events. The public
# file may hold several keys: docs/decisions/identity.md.
for name in $(named '((identity|events)_[a-z]+)_key'); do
  if [[ ! -s $dir/${name}_key ]]; then openssl genpkey -algorithm ed25519 | write "${name}_key"; fi
  if [[ ! -s $dir/${name}_public ]]; then openssl pkey -in "$dir/${name}_key" -pubout | write "${name}_public"; fi
done

# Ours is made again a month before it ends; another one in its place is left alone.
ends_soon() {
  [[ $(openssl x509 -noout -subject -in "$dir/tls_certificate") == *localhost* ]] \
    && ! openssl x509 -noout -checkend 2592000 -in "$dir/tls_certificate" >/dev/null
}

if [[ ! -s $dir/tls_certificate || ! -s $dir/tls_key ]] || ends_soon; then
  temporary=$(mktemp -d "$dir/.tls.XXXXXX")
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 \
    -keyout "$temporary/key" -out "$temporary/certificate" 2>/dev/null
  write tls_key <"$temporary/key"
  write tls_certificate <"$temporary/certificate"
  rm -r "$temporary"
fi

# Where TLS is inspected, pip in a build needs the host's CA bundle. It is a build secret: it is in
# no image.
bundle=
for candidate in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
  if [[ -n $candidate && -s $candidate ]]; then bundle=$candidate && break; fi
done
if ! cmp -s "${bundle:-/dev/null}" "$dir/build_ca"; then write build_ca <"${bundle:-/dev/null}"; fi

"$root/scripts/certificates.sh" write
