#!/usr/bin/env bash
# make mutants PACKAGE=identity [MINUTES=30]: change the code of app/PACKAGE in one place after the
# other, run the tests of the package each time, and show the changes that no test noticed: in
# random order, in a copy, for so many minutes.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
  local package=${PACKAGE:-} minutes=${MINUTES:-30}
  local room
  for room in scaleout/ shop/ ''; do [[ ! -d $root/app/$room$package/tests ]] || break; done
  [[ $package =~ ^[a-z_]+$ && -d $root/app/$room$package/tests ]] \
    || fail "PACKAGE='$package' is no package of app/ with tests: make mutants PACKAGE=identity"
  [[ $minutes =~ ^[1-9][0-9]{0,3}$ ]] || fail "MINUTES='$minutes' must be a number from 1 to 9999"
  "$root/scripts/engine.sh"
  "$root/scripts/secrets.sh"
  "$root/scripts/base-image.sh"
  "$root/scripts/tools.sh" scripts/with-servers.sh scripts/mutants.sh "$room$package" "$minutes"
}

# Inside the tools image. One database for all runs (--reuse-db): to make it takes longer than most
# tests.
work() { # work PACKAGE MINUTES
  local package=$1 tests="pytest -x -q --reuse-db app/$1/tests" session=/tmp/mutants.sqlite status=0
  mkdir /tmp/copy && cp -a "$root/." /tmp/copy && cd /tmp/copy
  config "$package" "$tests" >/tmp/mutants.toml
  cosmic-ray init /tmp/mutants.toml "$session"
  cr-filter-operators "$session" /tmp/mutants.toml
  step "The tests without a change"
  $tests || fail "the tests of $package fail without a change"
  step "Changes of app/$package for at most $2 minutes"
  timeout "$2m" cosmic-ray exec /tmp/mutants.toml "$session" || status=$?
  [[ $status == 0 || $status == 124 ]] || fail "cosmic-ray ended with $status"
  cr-report --show-diff --surviving-only "$session"
  count "$session"
}

# cr-report counts what was filtered out as complete.
count() { # count SESSION
  python3 - "$1" <<'END'
import sqlite3, sys
ask = lambda sql: sqlite3.connect(sys.argv[1]).execute(f"SELECT count(*) FROM {sql}").fetchone()[0]
tried = ask("work_results WHERE worker_outcome = 'NORMAL'")
lived, left = ask("work_results WHERE test_outcome = 'SURVIVED'"), ask("work_items") - ask("work_results")
print(f"{tried} changes tried: {tried - lived} noticed, {lived} not noticed; {left} not tried")
END
}

# A `|` is nearly always of a type, which changes nothing.
config() { # config PACKAGE TESTS
  cat <<END
[cosmic-ray]
module-path = "app/$1"
excluded-modules = ["app/$1/tests/*", "app/$1/migrations/*"]
test-command = "$2"
timeout = 300.0
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]
END
}

if [[ $# == 2 ]]; then work "$@"; else main; fi
