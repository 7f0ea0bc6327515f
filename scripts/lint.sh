#!/usr/bin/env bash
# Every check that reads the code and runs none of it: `make lint` calls this in the image of the
# tools.
set -uo pipefail # not -e: every check runs, and the end says whether one failed
cd "$(dirname "$0")/.." || exit

# All checks run at once, and each prints its output at its end, in one piece.
failed=$(mktemp) # the names of those that failed; locked by the one that prints
trap 'rm -f "$failed"' EXIT
# check NAME COMMAND...: run it, print its name and output, and remember that it failed.
check() {
  local name=$1 output status=0
  shift
  output=$("$@" 2>&1) || status=$?
  (
    flock 7
    printf '==> %s\n' "$name"
    [[ -z $output ]] || printf '%s\n' "$output"
    if ((status)); then
      printf 'error: %s\n' "$name" >&2
      printf '  %s\n' "$name" >&7
    fi
  ) 7>>"$failed"
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
# Each is quick: one after the other.
compose_files() {
  local profile overlay
  for profile in nginx haproxy canary cdn; do
    check "docker compose config ($profile)" docker compose --profile "$profile" config --quiet
  done
  check "docker compose config (dev)" docker compose -f compose.yaml -f compose.dev.yaml config --quiet
  for overlay in cluster sentinel; do
    check "docker compose config (redis-$overlay)" docker compose -f compose.yaml -f "compose.redis-$overlay.yaml" config --quiet
  done
}

types app bench &
types tests nginx haproxy postgres redis swift prometheus &
# One by one: all in one process take twice as long.
check "shellcheck" xargs -0 -a <(printf '%s\0' "${shell[@]}") -n 1 shellcheck --external-sources &
check "check --deploy" scripts/check-deploy.sh &
check "migrations" scripts/with-servers.sh env LOG_LEVEL=ERROR DJANGO_SETTINGS_MODULE=config.lint_settings python app/manage.py lintmigrations &
check "ruff check" ruff check "${python[@]}" &
check "ruff format" ruff format --check "${python[@]}" &
check "words" scripts/words.py &
check "hadolint" hadolint --config .hadolint.yaml "${dockerfiles[@]}" &
compose_files &

for job in $(jobs -p); do
  wait "$job" || printf '  a check ended without a result\n' >>"$failed"
done
if [[ -s $failed ]]; then
  printf 'error: make lint failed:\n' >&2
  cat "$failed" >&2
  exit 1
fi
