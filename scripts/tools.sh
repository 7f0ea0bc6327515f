#!/usr/bin/env bash
# tools.sh COMMAND...: run COMMAND in the image of the tests and linters (tests/Dockerfile), in the
# work tree as it is here and with this host's Docker. The image is built when its files have
# changed.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

image=${COMPOSE_PROJECT_NAME:-scale-out}-tools
socket=/var/run/docker.sock
if [[ ${DOCKER_HOST:-} == unix://* ]]; then socket=${DOCKER_HOST#unix://}; fi
[[ $# -gt 0 ]] || fail "usage: scripts/tools.sh COMMAND [ARGUMENT...]"
[[ -S $socket ]] || fail "the tools need the engine's socket, and there is none at $socket"

build() {
  local secret=()
  if [[ -s $root/secrets/build_ca ]]; then secret=(--secret "id=build_ca,src=$root/secrets/build_ca"); fi
  DOCKER_BUILDKIT=1 docker build --quiet --file "$root/tests/Dockerfile" --tag "$image" "${secret[@]}" \
    --label "scale-out.tools=$fingerprint" "$root"
}

# Build the image only if its sources have changed, so that a run without changes starts at once.
fingerprint=$(cat "$root"/tests/{Dockerfile,entrypoint.sh,requirements.txt} "$root/app/requirements.txt" | sha256sum | cut -c 1-16)
if [[ $(docker image inspect --format '{{index .Config.Labels "scale-out.tools"}}' "$image" 2>/dev/null) != "$fingerprint" ]]; then
  "$root/scripts/base-image.sh"
  step "Building the image of the tests and linters"
  quietly "$state_dir/tools.log" build || fail "the image $image could not be built"
fi

# An engine without root maps the caller to root in a container.
uid=$(id -u) gid=$(id -g)
if docker info --format '{{.SecurityOptions}}' | grep -q rootless; then uid=0 gid=0; fi

# In memory: what the servers of the in-process tests write would wait for the disk, and each of
# their time-outs with it.
options=(--rm --init --interactive --network host --workdir "$root"
  --tmpfs "/tmp:exec,mode=1777" --tmpfs /var/lib/postgresql:mode=1777
  --volume "$socket:/var/run/docker.sock" --volume "$root:$root"
  --env "TOOLS_UID=$uid" --env "TOOLS_GID=$gid" --env "TOOLS_IMAGE=$image"
  --env "MYPY_CACHE_DIR=$state_dir/mypy")
if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
# The host's CA bundle that make needs is in secrets/ already: a `make up` in the image must not
# look for another.
if [[ -s $root/secrets/build_ca ]]; then
  options+=(--env "PIP_CERT=$root/secrets/build_ca" --env "SSL_CERT_FILE=$root/secrets/build_ca")
fi
for name in COMPOSE_PROJECT_NAME COMPOSE_PROFILES COMPOSE_FILE LB HTTP_PORT HTTPS_PORT PROMETHEUS_PORT CDN_PORT TLS_CERTIFICATE TLS_KEY WEB_REPLICAS TIME_FACTOR CI; do
  if [[ -n ${!name:-} ]]; then options+=(--env "$name"); fi
done
exec docker run "${options[@]}" "$image" "$@"
