#!/usr/bin/env bash
# make up: from nothing to a healthy stack. Run again it changes nothing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

main() {
  load_settings
  check_settings
  "$root/scripts/engine.sh"
  check_disk
  check_ports
  check_connections "${WEB_REPLICAS:-$(recorded WEB_REPLICAS)}"
  remember_settings
  stop_the_other_load_balancer
  "$root/scripts/secrets.sh"
  "$root/scripts/lb.sh" write
  "$root/scripts/base-image.sh"
  build_images
  start
  tell
}

check_disk() {
  local where free
  where=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
  [[ -d $where ]] || return 0 # an engine on another machine
  free=$(df --output=avail -BM "$where" | tail -n 1 | tr -dc 0-9)
  ((free >= 4096)) || fail "only $free MB are free in $where: 4096 MB are needed"
}

# A port that this stack's own load balancer or Prometheus holds is not taken.
check_ports() {
  local name ours
  ours=$(docker ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --format '{{.Ports}}')
  for name in HTTP_PORT HTTPS_PORT PROMETHEUS_PORT; do
    if [[ $ours != *":${!name}->"* ]] && listens "${!name}"; then
      fail "port ${!name} is taken: choose another one, as in: make up $name=$((${!name} + 1000))"
    fi
  done
}

# Where there is no ss, what listens on 127.0.0.1 is found by connecting to it.
listens() {
  if have ss; then [[ -n $(ss -Hltn "sport = :$1") ]]; else (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; fi
}

stop_the_other_load_balancer() {
  local other=(haproxy)
  [[ $LB == haproxy ]] && other=(nginx nginx-exporter)
  local ids
  ids=$(docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter "label=com.docker.compose.service=${other[0]}")
  if [[ -n $ids ]]; then
    step "Stopping ${other[0]}: $LB takes its place"
    compose --profile "${other[0]}" rm --stop --force "${other[@]}" >/dev/null 2>&1
  fi
}

# Nothing is built where the images are there and all that they are made of is as it was. The engine's build cache forgets,
# and an image that is built once more is another one, even of the same files: then every container would be replaced.
build_images() {
  local made=$state_dir/images-$COMPOSE_PROJECT_NAME
  if [[ -s $made && $(images_and_sources) == "$(cat "$made")" ]]; then return; fi
  step "Building the images"
  quietly "$state_dir/build.log" compose build || fail "an image could not be built"
  images_and_sources >"$made"
}

images_and_sources() {
  local images folders
  mapfile -t images < <(compose config --images | sort -u)
  docker image inspect --format '{{.Id}}' debian:trixie-slim "${images[@]}" 2>/dev/null || true # one that is missing is another answer
  folders=(*/Dockerfile)
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --exclude=__pycache__ --exclude='.*_cache' --exclude=tests --exclude=bench \
    compose*.yaml "${folders[@]%/Dockerfile}" | sha256sum
}

start() {
  step "Starting the stack and waiting until all of it is healthy"
  quietly "$state_dir/start.log" timeout 600 docker compose up --detach --wait --wait-timeout 300 --remove-orphans || {
    compose ps --all >&2
    fail "the stack did not become healthy; 'make logs' shows why"
  }
}

tell() {
  cat <<TEXT

scale-out is up behind $LB.

  shop        http://localhost:$HTTP_PORT/    https://localhost:$HTTPS_PORT/ (self-signed certificate)
  Prometheus  http://localhost:$PROMETHEUS_PORT/

Try:
  curl -i http://localhost:$HTTP_PORT/health/
  curl -X POST http://localhost:$HTTP_PORT/counter/
  curl 'http://localhost:$HTTP_PORT/api/products/?featured=true&limit=3'
TEXT
}

main
