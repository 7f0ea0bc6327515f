#!/usr/bin/env bash
# make requirements: pin the Python packages of requirements.in again, with their hashes.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

"$root/scripts/engine.sh"
"$root/scripts/secrets.sh" # the host's CA bundle, which pip may need

# Both in one container: its image is built from both, and could not be built again with one of them
# pinned and the other not.
step "app/requirements.txt, tests/requirements.txt"
# shellcheck disable=SC2016 # the shell in the container expands it
"$root/scripts/tools.sh" bash -euc 'for part in app tests; do
  cd "$0/$part"
  pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
    --no-emit-trusted-host --no-emit-find-links --no-header --output-file requirements.txt requirements.in
done' "$root"
