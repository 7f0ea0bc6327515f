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
unit() { step "In-process tests" && tools scripts/with-servers.sh pytest app nginx bench; }
integration() { "$root/scripts/up.sh" >&2 && step "Live tests behind $LB" && tools pytest tests -m 'not failure'; }
failure() { "$root/scripts/up.sh" >&2 && step "Failure tests behind $LB" && tools pytest tests -m failure; }

all() {
  lint
  unit
  integration
}

main "$1"
