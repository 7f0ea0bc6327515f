#!/usr/bin/env bash
# make load-large: import Debian's own package index, which is in the image, into the live catalogue.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

[[ -n $(docker compose ps --quiet --status running web 2>/dev/null) ]] || fail "no running stack: run make up first"
terminal=(--no-TTY)
[[ -t 1 ]] && terminal=()
step "Importing Debian's package index"
docker compose exec "${terminal[@]}" web bash -o pipefail -c \
  'python manage.py debian_index /usr/share/scale-out/Packages.gz | python manage.py import_catalog --format jsonl -'
