#!/usr/bin/env bash
# Every check that reads the code and runs none of it: `make lint` calls this in the image of the
# tools.
set -uo pipefail # not -e: every check runs, and the end says whether one failed
cd "$(dirname "$0")/.." || exit

failed=0
check() { # check NAME COMMAND...: run it, and remember that it failed
  local name=$1
  shift
  printf '==> %s\n' "$name"
  "$@" || { failed=1; printf 'error: %s\n' "$name" >&2; }
}

# The files that git has or would take: an editor's leftovers are not checked.
files() {
  git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard -- "$@" \
    | while read -r file; do if [[ -f $file ]]; then printf '%s\n' "$file"; fi; done
}
mapfile -t python < <(files '*.py')
mapfile -t shell < <(
  files '*.sh'
  files | grep -v '\.sh$' | xargs grep -lIE -m 1 '^#!.*[/ ](ba)?sh$'
)
mapfile -t dockerfiles < <(files '*Dockerfile*' | grep -v '\.dockerignore$')

# types PART...: each part by itself: the application and the tests import nothing from each other.
# Some of the benches run in the application. Its own tests find app/tests/waiting.py by its name
# alone, as pytest does (pyproject.toml).
types() {
  local part path sources
  for part; do
    mapfile -t sources < <(files "$part/*.py" "$part/**/*.py" | sort -u)
    if [[ ${#sources[@]} -eq 0 ]]; then continue; fi
    path=$PWD/$part
    if [[ $part == app ]]; then path+=:$PWD/app/tests; elif [[ $part == bench ]]; then path+=:$PWD/app; fi
    check "mypy --strict $part" env "MYPYPATH=$path" "PYTHONPATH=$PWD/app" "MYPY_CACHE_DIR=${MYPY_CACHE_DIR:-.mypy_cache}/$1" \
      mypy --config-file pyproject.toml --explicit-package-bases "${sources[@]}"
  done
}
# Beside all the rest, which takes as long: two cores are enough for both.
types_of_app=$(mktemp)
{ types app bench; exit "$failed"; } >"$types_of_app" 2>&1 &

check "ruff check" ruff check "${python[@]}"
check "ruff format" ruff format --check "${python[@]}"
check "words" scripts/words.py
types tests nginx haproxy postgres redis swift prometheus
# One by one: all in one process take twice as long.
check "shellcheck" xargs -0 -a <(printf '%s\0' "${shell[@]}") -n 1 shellcheck --external-sources
check "hadolint" hadolint --config .hadolint.yaml "${dockerfiles[@]}"
check "migrations" scripts/with-servers.sh env LOG_LEVEL=ERROR DJANGO_SETTINGS_MODULE=config.lint_settings python app/manage.py lintmigrations
check "check --deploy" scripts/check-deploy.sh
for profile in nginx haproxy canary cdn; do
  check "docker compose config ($profile)" docker compose --profile "$profile" config --quiet
done
check "docker compose config (dev)" docker compose -f compose.yaml -f compose.dev.yaml config --quiet
for overlay in cluster sentinel; do
  check "docker compose config (redis-$overlay)" docker compose -f compose.yaml -f "compose.redis-$overlay.yaml" config --quiet
done

wait %1 || failed=1
cat "$types_of_app"
rm "$types_of_app"
exit "$failed"
