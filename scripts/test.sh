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

tools() { "$root/scripts/tools.sh" "$@"; }

lint() { step "Lint" && tools scripts/lint.sh; }
# In parts at once, each with servers of its own: most of the time one test waits for something.
unit() {
  step "In-process tests"
  local parts=("app/replication app/sharding" "app/events app/gateway app/users" "app/config app/orders app/identity")
  local rest=(app nginx bench) others=() part number status=0 one
  for number in "${!parts[@]}"; do
    read -ra part <<<"${parts[number]}"
    rest+=("${part[@]/#/--ignore=}")
    tools scripts/with-servers.sh pytest "${part[@]}" >"$state_dir/unit-$number.log" 2>&1 </dev/null &
    others+=($!)
  done
  tools scripts/with-servers.sh pytest "${rest[@]}" || status=$?
  for one in "${others[@]}"; do wait "$one" || status=$?; done
  cat "$state_dir"/unit-*.log
  return "$status"
}
integration() { live "Live tests" 'not failure'; }
failure() { live "Failure tests" failure; }

live() { # live WHAT MARK: the tests with MARK, of all files or of those in TESTS
  local files
  read -ra files <<<"${TESTS:-tests}"
  "$root/scripts/up.sh" >&2 && step "$1 behind $LB" && tools pytest "${files[@]}" -m "$2"
}

all() {
  lint
  unit
  integration
}

main "$1"
