#!/usr/bin/env bash
# make requirements: pin the Python packages of requirements.in anew, with their hashes.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

for part in app tests; do
  step "$part/requirements.txt"
  "$root/scripts/tools.sh" bash -c "cd $part && pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.txt requirements.in"
done
