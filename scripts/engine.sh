#!/usr/bin/env bash
# Make sure that a Docker engine >= 20.10 and Compose >= 2.20 answer. If they do, change nothing. On
# Debian and Ubuntu, as root, install what is missing; elsewhere print one line that says what to
# do.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

minimum_engine=20.10
minimum_compose=2.20

at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

can_install() { [[ $(id -u) == 0 ]] && have apt-get && grep -qE '^ID=(debian|ubuntu)$' /etc/os-release; }

# Debian 12's own Compose is 1.29, too old. Debian 13's packages need no more than Debian 12's
# libc6, so they are fetched with an apt configuration that lives in a temporary folder and goes
# with it.
install_from_trixie() {
  local dir keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  # shellcheck disable=SC2016 # a field of apt's, not a variable of the shell's
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -m 1 '/debian/\?$')
  [[ -n $mirror ]] || fail "no Debian mirror in the apt sources; install Docker Compose >= $minimum_compose and try again"
  dir=$(mktemp -d)
  mkdir -p "$dir"/{lists,cache,debs}
  chmod 755 "$dir" "$dir"/*
  echo "deb [signed-by=$keyring] $mirror trixie main" >"$dir/sources.list"
  local options=(-qq -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$dir/debs" && apt-get "${options[@]}" download "$@")
  dpkg --install "$dir"/debs/*.deb
  rm -rf "$dir"
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  quietly "$state_dir/apt-update.log" apt-get update || fail "apt-get update failed: check the network, then run make up again"
  quietly "$state_dir/apt-install.log" apt-get install --yes --no-install-recommends "$@" \
    || fail "apt could not install: $*"
}

# Debian splits the client from the engine since 13.
engine_packages() {
  if apt-cache show docker-cli >/dev/null 2>&1; then echo docker.io docker-cli iptables; else echo docker.io iptables; fi
}

install_engine() {
  local packages
  step "Installing the Docker engine (docker.io)"
  quietly "$state_dir/apt-update.log" apt-get update || fail "apt-get update failed: check the network, then run make up again"
  read -ra packages <<<"$(engine_packages)"
  install_packages "${packages[@]}"
}

install_plugins() {
  step "Installing Compose and Buildx"
  if grep -q '^ID=ubuntu$' /etc/os-release; then
    install_packages docker-compose-v2 docker-buildx
  elif at_least "$(apt-cache policy docker-compose 2>/dev/null | sed -n 's/ *Candidate: //p' | sed 's/^$/0/')" "$minimum_compose"; then
    install_packages docker-compose docker-buildx
  else
    quietly "$state_dir/apt-trixie.log" install_from_trixie docker-compose docker-buildx \
      || fail "Compose could not be installed; install Docker Compose >= $minimum_compose and try again"
  fi
}

# Each published port has a docker-proxy, which carries the connections to 127.0.0.1. It opens 6
# files for each, and ends for good at its limit, which is the daemon's: docs/operating.md says what
# that looks like.
raise_limit() { ulimit -n 1048576 2>/dev/null || ulimit -n "$(ulimit -H -n)"; }
# Where the limit cannot be raised, packet rules do without it; then localhost answers at 127.0.0.1,
# and not at ::1.
proxy_options() {
  options=()
  if [[ $(ulimit -n) != unlimited ]] && (($(ulimit -n) < 100000)) && ! grep -qs userland-proxy /etc/docker/daemon.json; then
    options+=(--userland-proxy=false)
  fi
}

start_daemon() {
  step "Starting the Docker daemon"
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker
  else
    mkdir -p "$state_dir"
    # A daemon that was killed leaves its pid file behind and then refuses to start.
    if [[ -f /var/run/docker.pid ]] && ! kill -0 "$(cat /var/run/docker.pid)" 2>/dev/null; then rm -f /var/run/docker.pid; fi
    # Without this command's lock, which it would hold for as long as it runs.
    (raise_limit && proxy_options && exec setsid nohup dockerd "${options[@]}" >>/var/log/dockerd.log 2>&1 </dev/null 9>&-) &
  fi
  local i
  for ((i = 0; i < 60; i++)); do
    docker info >/dev/null 2>&1 && return
    sleep 0.5
  done
  tail -n 5 /var/log/dockerd.log >&2 || :
  fail "the Docker daemon did not answer within 30 s; its log is /var/log/dockerd.log"
}

check_engine() {
  local answer
  if ! answer=$(docker version --format '{{.Server.Version}}' 2>&1); then
    case $answer in
      *"permission denied"*) fail "this user may not talk to Docker: run 'sudo usermod -aG docker $(id -un)' and log in again, or use sudo" ;;
      *) [[ -n ${DOCKER_HOST:-} ]] && fail "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer" ;;
    esac
    if [[ $(id -u) == 0 ]]; then
      have dockerd || { can_install || fail "no Docker engine: install Docker >= $minimum_engine (https://docs.docker.com/engine/install/) and try again"; install_engine; }
      docker info >/dev/null 2>&1 || start_daemon
    else
      fail "no Docker engine answers: start it, or install Docker >= $minimum_engine (https://docs.docker.com/engine/install/)"
    fi
    answer=$(docker version --format '{{.Server.Version}}')
  fi
  at_least "$answer" "$minimum_engine" || fail "Docker engine $answer is too old: $minimum_engine or newer is needed"
}

compose_version() { docker compose version --short 2>/dev/null | sed 's/^v//'; }

check_plugins() {
  local version
  version=$(compose_version || :)
  if [[ -z $version ]] || ! docker buildx version >/dev/null 2>&1; then
    can_install || fail "Docker Compose >= $minimum_compose and Buildx are needed: see https://docs.docker.com/compose/install/"
    install_plugins
    version=$(compose_version || :)
  fi
  at_least "${version:-0}" "$minimum_compose" \
    || fail "Docker Compose ${version:-none} is too old: $minimum_compose or newer is needed (https://docs.docker.com/compose/install/)"
}

# For the keys and certificates of scripts/secrets.sh, which says what to do where this can't.
check_openssl() {
  if ! have openssl && can_install; then
    step "Installing openssl"
    install_packages openssl
  fi
}

check_engine
check_plugins
check_openssl
