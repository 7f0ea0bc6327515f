# shellcheck shell=bash
# Replace outdated containers without losing a request. up.sh and deploy.sh read this
# file, after lib.sh.
# shellcheck disable=SC2154 # root and state_dir are of lib.sh
# (Never with --no-deps: a container that was made so is another one to Compose, and would be
# replaced again.)

declare -A hash=()     # of each service: what its containers would be made of now
media_store_secret=    # the file behind /run/secrets/media_store: Compose leaves it out of the hash

# The cost of replacing a container of SERVICE decides how it is done.
kind() { # SERVICE
  case $1 in
    nginx | haproxy | cdn) echo front ;;                # a published port: connections are cut
    postgres-* | shard-* | swift) echo data ;;          # its data cannot be read or written for a moment
    redis-* | sentinel-* | etcd | prometheus | *-exporter | alertmanager) echo support ;; # no request fails without it
    migrate) echo once ;;
    *) echo app ;;                                      # a new one starts before an old one stops
  esac
}

services() { # KIND: those of compose.yaml, and of the profiles that are used, in the order of their names
  local service
  for service in $(printf '%s\n' "${!hash[@]}" | sort); do
    if [[ $(kind "$service") == "$1" ]]; then echo "$service"; fi
  done
}

containers() { # SERVICE [OPTION...]: those that run, or what the options of `docker ps` say
  docker ps --quiet --no-trunc "${@:2}" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False
}

count() { containers "$1" | wc -l; }

# Read the definition that each container would have now. A service that was started with its own
# profile stays a part of the stack.
look() {
  local lines service value
  if [[ -n $(containers web-canary) ]]; then COMPOSE_PROFILES+=,canary; fi
  if [[ -n $(containers cdn) ]]; then COMPOSE_PROFILES+=,cdn; fi
  lines=$(compose config --hash '*')
  hash=()
  while read -r service value; do hash[$service]=$value; done <<<"$lines"
  media_store_secret=$(realpath -m "$(setting MEDIA_STORE_SECRET "$root/secrets/media_store")")
}

# outdated SERVICE: "CONTAINER REASON" for each that has another image or other settings than it
# would be made with now.
outdated() {
  local id image name made store now ids
  mapfile -t ids < <(containers "$1")
  ((${#ids[@]})) || return 0
  while read -r id image name made store; do
    now=$(docker image inspect --format '{{.Id}}' "$name" 2>/dev/null) || now=$image
    if [[ $image != "$now" ]]; then
      echo "$id a new image"
    elif [[ $made != "${hash[$1]:-}" || ${store:-$media_store_secret} != "$media_store_secret" ]]; then
      echo "$id new settings"
    fi
  done < <(docker inspect --format '{{.Id}} {{.Image}} {{.Config.Image}} {{index .Config.Labels "com.docker.compose.config-hash"}} {{
    range .Mounts}}{{if eq .Destination "/run/secrets/media_store"}}{{.Source}}{{end}}{{end}}' "${ids[@]}")
}

# ── one container ───────────────────────────────────────────────────────────────────────────────────

# settle CONTAINER: wait until it is healthy. Fails when it ends, starts again, is unhealthy, or
# takes too long.
settle() {
  local i state
  for ((i = 0; i < 180; i++)); do
    state=$(docker inspect --format '{{.RestartCount}} {{.State.Status}} {{with .State.Health}}{{.Status}}{{else}}none{{end}}' "$1")
    case $state in
      "0 running healthy" | "0 running none") return ;;
      "0 running starting" | "0 created "*) sleep 1 ;;
      *) return 1 ;;
    esac
  done
  return 1
}

# made SERVICE REPLICAS: start so many, keep those that run, and wait for the new ones;
# removes new ones that fail. Created by Compose and started by the engine: Compose would run the
# migrations again each time.
made() {
  local before one new=() failed=''
  before=$(containers "$1" --all)
  compose up --no-start --no-recreate --scale "$1=$2" "$1" >"$state_dir/roll-$1.log" 2>&1 \
    || { tail -n 5 "$state_dir/roll-$1.log" >&2 && return 1; }
  for one in $(containers "$1" --all); do
    [[ $before == *"$one"* ]] || new+=("$one")
  done
  ((${#new[@]})) || return 0
  docker start "${new[@]}" >/dev/null || failed=${new[0]}
  for one in "${new[@]}"; do settle "$one" || failed=$one; done
  [[ $failed ]] || return 0
  docker logs --tail 5 "$failed" >&2
  retire "${new[@]}"
  return 1
}

# retire CONTAINER...: each drains, stops, and is removed.
retire() {
  docker stop "$@" >/dev/null 2>&1 || :
  docker rm --force "$@" >/dev/null 2>&1 || :
}

# replace SERVICE: the containers that are outdated, each stopped before its successor starts.
replace() {
  local one replicas
  replicas=$(count "$1")
  for one in $(outdated "$1" | cut -d ' ' -f 1); do
    step "Replacing $1"
    retire "$one"
    made "$1" "$replicas" || fail "the new container of $1 did not become healthy; $1 is down until the next make up"
  done
}

# whole: start all that compose.yaml names, remove all else, and wait until it is healthy; running
# containers stay.
whole() {
  local stopped missing i
  compose up --no-start --no-recreate --remove-orphans || return
  mapfile -t stopped < <(not_well | grep -vE $'\tUp' | cut -f 1)
  if ((${#stopped[@]})); then docker start "${stopped[@]}" || return; fi
  for ((i = 0; i < 300; i++)); do
    missing=$(not_well | cut -f 2-)
    [[ -n $missing ]] || return 0
    printf 'not healthy yet: %s\n' "${missing//$'\n'/, }"
    sleep 1
  done
  return 1
}

not_well() {
  docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.oneoff=False \
    --format '{{.ID}}	{{.Label "com.docker.compose.service"}}	{{.Status}}' | grep -vE $'\tmigrate\t|\tUp [^(]*(\\(healthy\\))?$' || :
}

# ── the application: a new container starts before an old one stops ─────────────────────────────────

# roll SERVICE...: before the first old container stops, a new one of each service has become
# healthy. web, which calls the others, comes after them, and beat, of which there may be only one,
# at the end.
roll() {
  local service changed=() first=() last=() checks=() beat=''
  drop_trials
  for service in "$@"; do
    if [[ -e $(mark "$service") || -z $(containers "$service") || -n $(outdated "$service") ]]; then changed+=("$service"); fi
  done
  ((${#changed[@]})) || return 0
  for service in "${changed[@]}"; do
    case $service in
      beat) beat=yes ;;
      web | web-*) last+=("$service") checks+=("try_out $service") ;;
      *) first+=("$service") checks+=("begin $service") ;;
    esac
  done
  step "Starting a new container of each, beside the old ones: ${changed[*]}"
  # Starting processes take all cores: more at once would make requests slow, and end no sooner.
  if ! at_once "$(nproc)" "${checks[@]}"; then
    for service in "${first[@]}"; do undo "$service"; done
    fail "nothing was replaced: the old containers stay"
  fi
  step "Replacing the old containers"
  if ! at_once 99 "${first[@]/#/finish }" || ! at_once 99 "${last[@]/#/move }"; then
    fail "the old containers of the services named above stay"
  fi
  if [[ $beat ]]; then
    replace beat
    [[ -n $(containers beat) ]] || made beat 1 || fail "the new container of beat did not become healthy"
  fi
}

# at_once MOST "COMMAND ARGUMENT"...: MOST of them at the same time; fails if one fails.
at_once() {
  local most=$1 command pids=() ended=0 status=0
  for command in "${@:2}"; do
    if ((${#pids[@]} - ended >= most)); then end "${pids[ended++]}" || status=1; fi
    background "${command% *}" "${command#* }"
    pids+=("$!")
  done
  while ((ended < ${#pids[@]})); do end "${pids[ended++]}" || status=1; done
  return "$status"
}

end() { # PID
  local status=0
  wait "$1" || status=$?
  unset "groups[$1]"
  return "$status"
}

unhealthy() { # SERVICE
  say "    a new container of $1 did not become healthy"
  return 1
}

# How many containers SERVICE had before: an interrupted run leaves one more.
mark() { printf '%s' "$state_dir/roll-$COMPOSE_PROJECT_NAME-$1"; }

begin() { # SERVICE: one new container beside the old ones
  local stopped running
  [[ -s $(mark "$1") ]] || containers "$1" --all | wc -l >"$(mark "$1")"
  mapfile -t stopped < <(containers "$1" --all --filter status=exited --filter status=created --filter status=dead)
  if ((${#stopped[@]})); then docker rm --force "${stopped[@]}" >/dev/null; fi # Compose would start an old one
  running=$(count "$1")
  ((running > $(<"$(mark "$1")"))) || made "$1" $((running + 1)) || unhealthy "$1"
}

finish() { # SERVICE: the old ones go, one after the other
  local wanted one
  wanted=$(<"$(mark "$1")")
  ((wanted)) || wanted=1 # the release brings it
  for one in $(outdated "$1" | cut -d ' ' -f 1); do
    (($(count "$1") > wanted)) || made "$1" $((wanted + 1)) || { unhealthy "$1" || return; }
    retire "$one"
  done
  made "$1" "$wanted" || { unhealthy "$1" || return; }
  rm -f "$(mark "$1")"
}

move() { begin "$1" && finish "$1"; }

# ── the release before, whose services shared one password for each Redis ──────────────────────────────

# Whether containers of it may serve: its passwords stand where it kept them.
upgrades() { [[ -e $root/secrets/redis_cache || -e $root/secrets/redis_queue ]]; }

# When all its containers are gone: close their user, and let web store sessions in the form of this
# release.
end_upgrade() {
  local service
  upgrades || return 0
  for service in "$@"; do
    [[ -z $(outdated "$service") ]] || return 0
  done
  step "Closing the user of Redis that all services shared"
  forget_shared_passwords
  for service in $(services support); do
    case $service in
      redis-queue*) retire_default "$service" queue ;;
      redis-cache*) retire_default "$service" cache ;;
      sentinel-*) retire_default "$service" sentinel ;;
    esac
  done
  look
  roll "$@"
}

retire_default() { # SERVICE KIND
  local one
  for one in $(containers "$1"); do docker exec "$one" retire-default "$2" >/dev/null || say "    $1: its user default could not be closed: restart it"; done
}

# Containers that start from here on have no common user.
forget_shared_passwords() {
  rm -f "$root/secrets/redis_cache" "$root/secrets/redis_queue"
  "$root/scripts/secrets.sh"
  export OLD_SESSIONS=0
}

undo() { # SERVICE: without the new containers that are more than there were
  local wanted one
  wanted=$(<"$(mark "$1")")
  for one in $(comm -23 <(containers "$1" | sort) <(outdated "$1" | cut -d ' ' -f 1 | sort)); do
    if (($(count "$1") > wanted)); then retire "$one"; fi
  done
  rm -f "$(mark "$1")"
}

# try_out SERVICE: whether a container of it becomes healthy; it gets no requests.
try_out() {
  local one status=0
  one=$(compose run --detach --no-deps --label scale-out.trial=yes "$1" 2>/dev/null | tail -n 1)
  settle "$one" || status=1
  if ((status)); then
    docker logs --tail 5 "$one" >&2 || :
    unhealthy "$1" || :
  fi
  docker rm --force "$one" >/dev/null 2>&1 || :
  return "$status"
}

drop_trials() {
  local found
  mapfile -t found < <(docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=scale-out.trial)
  if ((${#found[@]})); then docker rm --force "${found[@]}" >/dev/null; fi
}

# ── the databases ───────────────────────────────────────────────────────────────────────────────────

start_added_servers() {
  local server
  for server in ${EXTRA_REPLICAS//,/ } ${EXTRA_SHARDS//,/ }; do
    [[ ${hash[$server]:-} && -z $(containers "$server") ]] || continue # not one of ours
    ! open_store || fail "etcd is of an older release: run make up first"
    introduce "$server"
    step "Starting $server"
    made "$server" 1 || fail "$server did not become healthy"
  done
}

# introduce SERVER: etcd makes the user of a new cluster when it starts; for these seconds the
# primaries continue without it.
introduce() {
  local id file=$root/secrets/nodes/etcd/patroni_$1
  id=$(containers etcd)
  [[ -e $file && -n $id ]] || return 0
  if (($(date --date "$(docker inspect --format '{{.State.StartedAt}}' "$id")" +%s) > $(stat --format %Y "$file"))); then return 0; fi
  step "Restarting etcd, which has no user for $1 yet"
  docker restart "$id" >/dev/null
  settle "$id" || fail "etcd did not become healthy"
}

migrate() {
  step "Migrating the databases"
  quietly "$state_dir/migrate.log" run_migrations || fail "the databases could not be migrated; nothing was replaced"
}

# The old containers serve during this: a migration must suit them too.
run_migrations() {
  local old container status
  old=$(containers migrate --all)
  if [[ -n $old ]]; then
    docker wait "$old" # of a run that was killed: two at once would wait for each other
    docker rm "$old"
  fi
  compose up --detach --no-recreate migrate
  container=$(containers migrate --all)
  status=$(docker wait "$container")
  docker logs "$container"
  return "$status"
}

is_primary() { # SERVICE
  [[ $(compose exec -T "$1" timeout 5 psql -XAtq -h /run/postgresql -U postgres -c 'SELECT pg_is_in_recovery()' </dev/null 2>/dev/null) == f ]]
}

# Whether etcd runs as in the releases without TLS: no node of theirs can speak to one of this
# release, nor with its nodes.
open_store() {
  local id
  id=$(containers etcd --all | head -n 1)
  [[ -n $id && $(docker inspect --format '{{range .Mounts}}{{.Destination}} {{end}}' "$id") != *"/run/node "* ]]
}

# All database nodes stop, the primaries at the end, so that each has what was committed; then all
# start with the new etcd.
close_store() {
  local service nodes=() primaries=() standbys=()
  step "Replacing etcd and all databases at once: they speak TLS from now on"
  for service in $(services data); do
    if [[ $service == swift || -z $(containers "$service") ]]; then continue; fi
    nodes+=("$service")
    if is_primary "$service"; then primaries+=("$(containers "$service")"); else standbys+=("$(containers "$service")"); fi
  done
  if ((${#standbys[@]})); then retire "${standbys[@]}"; fi
  if ((${#primaries[@]})); then retire "${primaries[@]}"; fi
  retire "$(containers etcd --all)"
  quietly "$state_dir/databases.log" compose up --detach --no-recreate --wait --wait-timeout 300 etcd "${nodes[@]}" \
    || fail "the databases did not become healthy: make up continues"
}

# Standbys first, the primary at the end: so the cluster fails over once.
replace_data() {
  local service primary=()
  for service in $(services data); do
    [[ -n $(outdated "$service") ]] || continue
    if [[ $service == postgres-* ]] && is_primary "$service"; then
      primary+=("$service")
    else
      replace "$service"
    fi
  done
  for service in "${primary[@]}"; do replace "$service"; done
}
