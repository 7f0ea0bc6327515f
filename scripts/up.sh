#!/usr/bin/env bash
# make up: from nothing to a healthy stack. In a running one it replaces outdated containers without
# losing a request. make update (up.sh update): the same, with every image built again from Debian's
# newest packages.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/roll.sh
source "$(dirname "$0")/roll.sh"
cd "$root"

main() {
  local mode=${1:-up}
  "$root/scripts/engine.sh" # first: Compose reads .env
  read_settings
  remember_typed
  load_settings
  check_settings
  take_lock "make $mode"
  check_disk
  check_ports
  "$root/scripts/secrets.sh"
  if [[ $mode == update ]]; then
    "$root/scripts/base-image.sh" refresh
    build_images --no-cache # the layers with apt's packages too
  else
    "$root/scripts/base-image.sh"
    build_images
  fi
  "$root/scripts/dev.sh" stop
  if upgrades; then export OLD_SESSIONS=1; fi
  look
  if [[ -z $(containers web) ]]; then
    forget_shared_passwords
    start
  else
    follow
  fi
  tell
}

# No container serves: start all at once.
start() {
  remember_settings
  "$root/scripts/lb.sh" write
  remove_the_other_load_balancer
  step "Starting the stack and waiting until all of it is healthy"
  healthy everything
}

# The site is served: replace outdated containers, and ask before an interruption.
follow() {
  local application support
  ask
  [[ -z $(outdated web) ]] || check_connections $(($(count web) + 1)) # one more for a moment
  remember_settings
  if other_files; then
    "$root/scripts/lb.sh" write
    step "Making the containers of $COMPOSE_FILE"
    healthy everything
    return
  fi
  mapfile -t application < <(services app)
  ! open_store || close_store
  for support in $(services support); do replace "$support"; done
  replace_data
  start_added_servers
  if any_outdated "${application[@]}"; then
    migrate
    roll "${application[@]}"
  fi
  end_upgrade "${application[@]}"
  "$root/scripts/lb.sh" write
  replace_front
  step "Waiting until all is healthy"
  healthy whole
  "$root/scripts/lb.sh" apply
}

any_outdated() {
  local service
  for service in "$@"; do
    if [[ -e $(mark "$service") || -n $(outdated "$service") || -z $(containers "$service") ]]; then return 0; fi
  done
  return 1
}

# ── what interrupts the site ────────────────────────────────────────────────────────────────────────

typed=' ' # settings that were typed with the command, as in make up LB=haproxy: that is consent to what they interrupt
remember_typed() {
  local name mine
  mine=$(recorded COMPOSE_PROJECT_NAME)
  for name in LB COMPOSE_FILE HTTP_PORT HTTPS_PORT CDN_PORT CDN_MEMORY_MB SWIFT_REPLICAS MEDIA_STORE_SECRET; do
    if [[ -n ${!name:-} && (${!name} != "$(was "$name")" || ${COMPOSE_PROJECT_NAME:-$mine} != "$mine") ]]; then typed+="$name "; fi
  done
}
was() { if [[ $1 == LB ]]; then recorded COMPOSE_PROFILES | cut -d , -f 1; else recorded "$1"; fi; }

ask() {
  local lines answer
  lines=$(interruptions)
  [[ -n $lines ]] || return 0
  say "This interrupts the site or a part of it:"
  say "$lines"
  [[ ${YES:-} != 1 ]] || return 0
  [[ -t 0 && -t 2 ]] || fail "nothing was changed: YES=1 continues, as in: make up YES=1"
  read -r -p "Continue? [y/N] " answer
  [[ $answer == [yY]* ]] || fail "nothing was changed"
}

# One line for each, with its reason; nothing for what was typed.
interruptions() {
  local service reason
  if other_files; then interrupts COMPOSE_FILE "COMPOSE_FILE=${COMPOSE_FILE:-compose.yaml}: all containers that it names are made again at once"; fi
  if [[ -n $(containers "$(other_load_balancer)") ]]; then
    interrupts LB "LB=$LB: $(other_load_balancer) stops before $LB starts, and connections are cut"
  fi
  if open_store; then
    printf '  - %s\n' "etcd: it and all databases speak TLS from now on: they stop and start at once, and the site waits for them"
  fi
  for service in $(services front) $(services data); do
    reason=$(outdated "$service" | cut -d ' ' -f 2- | head -n 1)
    [[ -n $reason ]] || continue
    case $service in
      nginx | haproxy) interrupts "HTTP_PORT HTTPS_PORT" "$service: $reason ($(ports)): connections are cut until it serves again" ;;
      cdn) interrupts "CDN_PORT CDN_MEMORY_MB" "cdn: $reason: connections to it are cut, and it begins empty" ;;
      swift) interrupts MEDIA_STORE_SECRET "swift: $reason: images cannot be read or stored until it serves again" ;;
      postgres-*) interrupts '' "$service: $reason: writes wait while another node becomes the primary" ;;
      *) interrupts '' "$service: $reason: its part of users and orders cannot be read or written for a moment" ;;
    esac
  done
  if [[ $(setting SWIFT_REPLICAS 1) == 0 && -n $(containers swift) ]]; then
    interrupts SWIFT_REPLICAS "SWIFT_REPLICAS=0: the demo's image store stops, and its images are not served any more"
  fi
}

interrupts() { # SETTINGS LINE
  local name
  for name in $1; do
    if [[ $typed == *" $name "* ]]; then return 0; fi
  done
  printf '  - %s\n' "$2"
}

ports() { printf 'HTTP_PORT=%s HTTPS_PORT=%s' "$HTTP_PORT" "$HTTPS_PORT"; }
other_load_balancer() { if [[ $LB == haproxy ]]; then echo nginx; else echo haproxy; fi; }

# Whether web was made of other Compose files than those of COMPOSE_FILE.
other_files() {
  local files one path=''
  IFS=: read -ra files <<<"${COMPOSE_FILE:-compose.yaml}"
  for one in "${files[@]}"; do path+=${path:+,}$(realpath -m "$one"); done
  [[ $(docker inspect --format '{{index .Config.Labels "com.docker.compose.project.config_files"}}' "$(containers web | head -n 1)") != "$path" ]]
}

replace_front() {
  local service
  remove_the_other_load_balancer
  for service in $(services front); do replace "$service"; done
}

remove_the_other_load_balancer() {
  local other one ids=()
  other=$(other_load_balancer)
  for one in "$other" "$other-exporter"; do mapfile -t -O "${#ids[@]}" ids < <(containers "$one" --all); done
  ((${#ids[@]})) || return 0
  step "Stopping $other: $LB takes its place"
  retire "${ids[@]}"
}

# ── checks ──────────────────────────────────────────────────────────────────────────────────────────

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

# Build nothing if the images exist and their sources have not changed. The engine's build cache
# expires, and a second build of the same files is another image: then every container would be
# replaced.
build_images() { # [OPTION]
  local made=$state_dir/images-$COMPOSE_PROJECT_NAME
  if [[ -z $* && -s $made && $(images_and_sources) == "$(cat "$made")" ]]; then return; fi
  step "Building the images"
  quietly "$state_dir/build.log" compose build "$@" || fail "an image could not be built"
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

healthy() { # COMMAND...: which ends when all is healthy
  quietly "$state_dir/start.log" "$@" || {
    compose ps --all >&2
    fail "the stack did not become healthy; 'make logs' shows why"
  }
}
everything() { timeout 600 docker compose up --detach --wait --wait-timeout 300 --remove-orphans; }

tell() {
  local host
  host=$(site_host)
  cat <<TEXT

scale-out is up behind $LB.

  shop        http://localhost:$HTTP_PORT/    https://localhost:$HTTPS_PORT/
  Prometheus  http://localhost:$PROMETHEUS_PORT/    graphs: http://localhost:$PROMETHEUS_PORT/consoles/stack.html
$("$root/scripts/lb.sh" show | sed 's/^/  /')

Try:
  curl -i ${host}http://localhost:$HTTP_PORT/health/
  curl -X POST ${host}http://localhost:$HTTP_PORT/counter/
  curl ${host}'http://localhost:$HTTP_PORT/api/products/?featured=true&limit=3'
TEXT
}

# If only some hosts are served, localhost is not one of them: use the first one.
site_host() {
  local hosts
  hosts=$(setting ALLOWED_HOSTS '' | tr -d ' ')
  case ,$hosts, in
    ,, | *,\*,* | *,localhost,*) ;;
    *) hosts=${hosts#.} && printf -- "-H 'Host: %s' " "${hosts%%,*}" ;;
  esac
}

main "$@"
