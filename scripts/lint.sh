#!/usr/bin/env bash
# Every check that reads the code and runs none of it: `make lint` calls this in the image of the tools.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=0
check() { # check NAME COMMAND...: run it, and remember that it failed
  local name=$1
  shift
  printf '==> %s\n' "$name"
  "$@" || { failed=1; printf 'error: %s\n' "$name" >&2; }
}

# What git has or would take, so that an editor's leftovers are nobody's business.
files() { git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do [[ -f $file ]] && printf '%s\n' "$file"; done; }
mapfile -t python < <(files '*.py')
mapfile -t shell < <(
  files '*.sh'
  files | while read -r file; do case $file in *.*) ;; *) head -n 1 "$file" | grep -aqE '^#!.*\b(ba)?sh$' && printf '%s\n' "$file" ;; esac done
)
mapfile -t dockerfiles < <(files '*Dockerfile*' | grep -v '\.dockerignore$')

check "ruff check" ruff check "${python[@]}"
check "ruff format" ruff format --check "${python[@]}"
# Each part by itself: the application and the tests import nothing from each other.
for part in app tests bench nginx haproxy postgres prometheus scripts; do
  mapfile -t sources < <(files "$part/*.py" "$part/**/*.py" | sort -u)
  if [[ ${#sources[@]} -gt 0 ]]; then
    configuration=pyproject.toml
    if [[ -f $part/mypy.ini ]]; then configuration=$part/mypy.ini; fi
    check "mypy --strict $part" env MYPYPATH="$PWD/$part" mypy --strict --config-file "$configuration" \
      --explicit-package-bases "${sources[@]}"
  fi
done
check "shellcheck" shellcheck --external-sources "${shell[@]}"
check "hadolint" hadolint --config .hadolint.yaml "${dockerfiles[@]}"
for profile in nginx haproxy canary; do
  check "docker compose config ($profile)" docker compose --profile "$profile" config --quiet
done

exit "$failed"
