#!/usr/bin/env bash
# make test, test-unit, test-integration, test-failure, lint, compare.
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

# Multiply the tests' deadlines by 2, and by 1 more for each process that waits for one of the
# cores.
readonly given=${TIME_FACTOR:-}
be_patient() { # be_patient [PARTS]: of what is about to run at once
  local load factor
  [[ -z $given ]] || return 0
  load=$(($(cut -d . -f 1 /proc/loadavg) + ${1:-0}))
  factor=$((2 + load / $(getconf _NPROCESSORS_ONLN)))
  export TIME_FACTOR=$((factor < 10 ? factor : 10))
  say "    each deadline is multiplied by $TIME_FACTOR (load $load)"
}

tools() { "$root/scripts/tools.sh" "$@"; }

lint() { step "Lint" && tools scripts/lint.sh; }
# The live tests that need no running stack: they run beside the in-process tests.
readonly alone=(tests/test_dev.py tests/test_settings.py tests/test_hostile_values.py
  tests/test_layout.py tests/test_certificates.py tests/test_security.py tests/test_wheel.py tests/test_automation.py
  tests/test_docs.py tests/test_words.py tests/test_add_a_service.py tests/test_files.py tests/test_caching_page.py)
# Several parts at once, each with its own servers, because most tests wait most of the time. The
# output of a part is printed at its end.
unit() {
  local at_once=5 files moves parts named status=0
  if [[ -n ${TESTS:-} ]]; then
    step "In-process tests"
    be_patient
    read -ra files <<<"$TESTS"
    tools scripts/with-servers.sh pytest "${files[@]}"
    return
  fi
  step "In-process tests, and those that need no running stack"
  be_patient "$at_once"
  # The longest first, so that all end at about the same time: the table below has their seconds.
  moves=(app/scaleout/sharding/tests/test_{reshard,migrations}.py)
  named=(app/config app/scaleout/{replication,events,caching,identity,gateway} app/shop/orders)
  parts=("app nginx bench --ignore=app/scaleout/sharding ${named[*]/#/--ignore=}" "${named[*]:4}" "${named[0]}"
    "app/scaleout/sharding ${moves[*]/#/--ignore=}" "${named[1]}" "${alone[*]:1:2}" "${alone[0]}" "${named[3]}"
    "${alone[*]:3}" "${moves[*]}" "${named[2]}")
  mkdir -p "$state_dir"
  : >"$state_dir/parts"
  printf '%s\0' "${parts[@]}" | xargs -0 -n 1 -P "$at_once" scripts/test.sh part || status=$?
  step "Seconds of each part"
  sort -rn "$state_dir/parts" >&2
  return "$status"
}
part() { # part PATHS: the in-process tests of these, which are one argument, but for the long ones
  local paths output status=0 servers=(scripts/with-servers.sh)
  read -ra paths <<<"$1"
  if [[ $1 == tests/* ]]; then servers=(); fi
  output=$(tools "${servers[@]}" pytest "${paths[@]}" -m 'not long' 2>&1 </dev/null) || status=$?
  printf '%s\n' "$output"
  printf '%5d  %.90s\n' "$SECONDS" "$1" >>"$state_dir/parts"
  return "$status"
}
compare() {
  local minutes=${MINUTES:-10} seed=${SEED:-}
  [[ $minutes =~ ^[1-9][0-9]{0,3}$ ]] || fail "MINUTES='$minutes' must be a number from 1 to 9999"
  [[ $seed =~ ^[0-9]{0,9}$ ]] || fail "SEED='$seed' must be a number that make compare has printed"
  step "Shards beside one plain database for $minutes minutes"
  be_patient
  tools scripts/with-servers.sh env COMPARE_SECONDS=$((minutes * 60)) COMPARE_SEED="$seed" \
    pytest -q -s app/scaleout/sharding/tests/test_comparison.py
}
integration() { live "Live tests" 'not failure and not long' "${alone[@]/#/--ignore=}"; }
failure() {
  live "Failure tests" 'failure or long' # those of $alone too: some are long
  [[ -z ${TESTS:-} ]] || return 0 # it names live tests
  step "The in-process tests in greater numbers"
  be_patient
  tools scripts/with-servers.sh pytest app nginx bench -m long
}

live() { # live WHAT MARK [OPTION...]: the tests with MARK, of all files (with OPTION...) or of those in TESTS
  local files
  read -ra files <<<"${TESTS:-tests ${*:3}}"
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
