#!/usr/bin/env bash
# make test, test-unit, test-integration, test-failure, lint.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

main() {
  "$root/scripts/engine.sh"
  "$root/scripts/secrets.sh"
  "$root/scripts/base-image.sh"
  load_settings
  "$1"
}

# Multiply the tests' deadlines by 2, and by 1 more for each process that waits for one of the cores.
readonly given=${TIME_FACTOR:-}
be_patient() {
  local load factor
  [[ -z $given ]] || return 0
  load=$(cut -d . -f 1 /proc/loadavg)
  factor=$((2 + load / $(getconf _NPROCESSORS_ONLN)))
  export TIME_FACTOR=$((factor < 10 ? factor : 10))
  say "    each deadline is multiplied by $TIME_FACTOR (load $load)"
}

tools() { "$root/scripts/tools.sh" "$@"; }

lint() { step "Lint" && tools scripts/lint.sh; }
# Three parts at once, each with servers of its own: a test waits for something part of the time. Each is shown at its end.
unit() {
  step "In-process tests"
  be_patient
  if [[ -n ${TESTS:-} ]]; then
    local files
    read -ra files <<<"$TESTS"
    tools scripts/with-servers.sh pytest "${files[@]}"
    return
  fi
  # The longest first.
  local parts=(app/sharding app/replication app/caching "app/events app/gateway" "app/config app/orders app/identity") named
  read -ra named <<<"${parts[*]}"
  parts+=("app nginx bench ${named[*]/#/--ignore=}")
  printf '%s\0' "${parts[@]}" | xargs -0 -n 1 -P 3 scripts/test.sh part
}
part() { # part PATHS: the in-process tests of these, which are one argument
  local paths output status=0
  read -ra paths <<<"$1"
  output=$(tools scripts/with-servers.sh pytest "${paths[@]}" 2>&1 </dev/null) || status=$?
  printf '%s\n' "$output"
  return "$status"
}
integration() { live "Live tests" 'not failure'; }
failure() { live "Failure tests" failure; }

live() { # live WHAT MARK: the tests with MARK, of all files or of those in TESTS
  local files
  read -ra files <<<"${TESTS:-tests}"
  "$root/scripts/up.sh" >&2
  step "$1 behind $LB"
  be_patient
  tools pytest "${files[@]}" -m "$2"
}

all() {
  lint
  TESTS='' unit # it names live tests
  integration
}

if [[ $1 == part ]]; then part "$2"; else main "$1"; fi
