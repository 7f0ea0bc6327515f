#!/usr/bin/env bash
# make load-large: import Debian's own package index, which is in the image, into the live
# catalogue.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
load_settings

[[ -n $(docker compose ps --quiet --status running web 2>/dev/null) ]] || fail "no running stack: run make up first"
terminal=(--no-TTY)
[[ -t 1 ]] && terminal=()
step "Importing Debian's package index"
# By way of a file, so that an index that breaks off half-way is not taken for the whole.
docker compose exec "${terminal[@]}" web bash -euc '
  file=$(mktemp --suffix=.jsonl) && trap "rm -f $file" EXIT
  python manage.py debian_index /usr/share/scale-out/Packages.gz >"$file"
  python manage.py import_catalog "$file"'
