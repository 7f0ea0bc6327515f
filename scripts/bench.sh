#!/usr/bin/env bash
# bench.sh [NAME] [--quick], make bench NAME=...: run a bench in the image of the benches
# (bench/Dockerfile), or list the benches.
# QUICK=1 is the same as --quick. bench/README.md explains what is measured and how.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

name=${1:-${NAME:-}}
quick=()
if [[ ${2:-} == --quick || ${QUICK:-0} == 1 ]]; then quick=(--quick); fi

if [[ -z $name ]]; then
  echo "Benches, as in: make bench NAME=proxy (QUICK=1 for a short run that only tries it)"
  for file in bench/benches/[a-z]*.py; do
    printf '  %-10s %s (about %d min)\n' "$(basename "$file" .py)" "$(sed -n 's/^ABOUT = "\(.*\)"/\1/p' "$file")" \
      $((($(sed -n 's/^SECONDS = //p' "$file") + 30) / 60))
  done
  exit
fi
[[ -f bench/benches/$name.py && $name =~ ^[a-z]+$ ]] || fail "NAME=$name: no such bench; make bench lists them"

load_settings
# A result says of which revision it is.
if [[ ${#quick[@]} -eq 0 ]]; then
  changes=$(git status --porcelain -- . ':!bench/results' 2>&1) || fail "a result names its revision, and this is no clone of git's: QUICK=1 tries the bench without one"
  [[ -z $changes ]] || fail "the work tree has changes, and a result names its revision: commit them, or try the bench with QUICK=1
$changes"
fi

image=$COMPOSE_PROJECT_NAME-bench-tools
project=$COMPOSE_PROJECT_NAME-bench
socket=/var/run/docker.sock
if [[ ${DOCKER_HOST:-} == unix://* ]]; then socket=${DOCKER_HOST#unix://}; fi

build() { DOCKER_BUILDKIT=1 docker build --quiet --tag "$image" --label "scale-out.bench=$fingerprint" - <bench/Dockerfile; }

"$root/scripts/engine.sh"
[[ -S $socket ]] || fail "the benches need the engine's socket, and there is none at $socket"
fingerprint=$(sha256sum <bench/Dockerfile | cut -c 1-16)
if [[ $(docker image inspect --format '{{index .Config.Labels "scale-out.bench"}}' "$image" 2>/dev/null) != "$fingerprint" ]]; then
  "$root/scripts/base-image.sh"
  step "Building the image of the benches"
  quietly "$state_dir/bench-image.log" build || fail "the image $image could not be built"
fi

# The harness talks to the engine, reads the host's control groups, and writes into the work tree as
# this user.
options=(--rm --init --interactive --workdir "$root" --network none --read-only --tmpfs /tmp
  --cap-drop ALL --cap-add DAC_OVERRIDE --security-opt no-new-privileges:true
  --user "$(id -u):$(id -g)" --group-add "$(stat --format %g "$socket")"
  --volume "$socket:/var/run/docker.sock" --volume "$root:$root" --volume /sys/fs/cgroup:/host/cgroup:ro
  --env "PYTHONPATH=$root/bench" --env "BENCH_ROOT=$root" --env "BENCH_IMAGE=$image" --env "BENCH_PROJECT=$project")
if docker info --format '{{.SecurityOptions}}' | grep -q rootless; then options+=(--user 0:0); fi
if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi

[[ -z $(docker ps --quiet --filter "name=^$image$") ]] || fail "a bench is running already"
"$root/scripts/secrets.sh"
COMPOSE_PROJECT_NAME=$project "$root/scripts/lb.sh" write
"$root/scripts/base-image.sh"
mkdir -p "$state_dir/bench" bench/results
options+=(--name "$image" --env "BENCH_REVISION=$(git describe --always 2>/dev/null || :)")
exec docker run "${options[@]}" "$image" python3 -m harness "$name" "${quick[@]}"
