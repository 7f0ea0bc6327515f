#!/usr/bin/env bash
# Make sure that the one base image is present: as it is, else pulled, else built from Debian's
# packages, so that the project also builds where no image registry answers.
# base-image.sh refresh: with the newest packages, also where a base image is present.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

image=debian:trixie-slim

[[ ${1:-} == refresh ]] || ! docker image inspect "$image" >/dev/null 2>&1 || exit 0

# A pulled image may be weeks old: its packages are upgraded in a layer on top.
upgrade() {
  printf 'FROM %s\nRUN apt-get update && apt-get upgrade --yes && rm -rf /var/lib/apt/lists/*\n' "$image" \
    | DOCKER_BUILDKIT=1 docker build --quiet --no-cache --tag "$image" -
}

step "Fetching the base image $image"
if timeout 120 docker pull --quiet "$image" >/dev/null 2>&1; then
  [[ ${1:-} == refresh ]] || exit 0
  quietly "$state_dir/base-image.log" upgrade || fail "the packages of the base image could not be upgraded"
  exit 0
fi

say "    no image registry answers: building it with mmdebstrap"
if ! have mmdebstrap; then
  if [[ $(id -u) != 0 ]] || ! have apt-get; then
    fail "cannot pull $image; install mmdebstrap, or make $image available, and try again"
  fi
  quietly "$state_dir/mmdebstrap-install.log" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends mmdebstrap debian-archive-keyring \
    || fail "apt could not install mmdebstrap"
fi

build() {
  # minbase, and out of it what a container never reads: the same cut that Debian's slim images
  # make.
  set -o pipefail
  mmdebstrap --variant=minbase --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    trixie - | docker import --change 'CMD ["bash"]' - "$image"
}
quietly "$state_dir/base-image.log" build || fail "the base image could not be built"
