#!/usr/bin/env bash
# check-deploy.sh: Django's checks for production, of each service with made-up secrets and the
# settings that .env.example advises. `make lint` calls it in the image of the tools.
set -euo pipefail
cd "$(dirname "$0")/../app"

secrets=$(mktemp -d)
trap 'rm -r "$secrets"' EXIT
for name in SECRET_KEY CACHE_KEY DB_{SHOP,USERS,ORDERS}_PASSWORD REDIS_{CACHE,QUEUE}_PASSWORD AWS_SECRET_ACCESS_KEY; do
  openssl rand -hex 32 >"$secrets/$name"
  export "${name}_FILE=$secrets/$name"
done
for name in IDENTITY_USERS IDENTITY_ORDERS EVENTS; do
  openssl genpkey -algorithm ed25519 -out "$secrets/$name" 2>/dev/null
  openssl pkey -in "$secrets/$name" -pubout -out "$secrets/${name}_KEYS"
done
export EVENTS_KEY_FILE=$secrets/EVENTS
export IDENTITY_USERS_KEYS_FILE=$secrets/IDENTITY_USERS_KEYS IDENTITY_ORDERS_KEYS_FILE=$secrets/IDENTITY_ORDERS_KEYS

for service in web users products orders; do
  key=$secrets/IDENTITY_USERS
  if [[ $service == orders ]]; then key=$secrets/IDENTITY_ORDERS; fi
  printf '%s: ' "$service"
  SERVICE=$service IDENTITY_KEY_FILE=$key HTTPS_ONLY=1 ALLOWED_HOSTS=shop.example LOG_LEVEL=ERROR \
    DJANGO_SETTINGS_MODULE=config.settings python manage.py check --deploy --fail-level WARNING
done
