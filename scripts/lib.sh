# shellcheck shell=bash
# Shared by the scripts in this folder: messages, and the one way to call Compose.

say() { printf '%s\n' "$*" >&2; }
step() { printf '==> %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

umask 022 # what the scripts make is read by the users of containers; secrets/ keeps others out
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for the scripts that read this file
state_dir=$root/.scale-out # logs and markers of make up; ignored by git

declare -A groups=() # process groups that `background` has started: an interrupt ends them

# background COMMAND...: run it in a process group of its own. The shell lets a plain `&` ignore
# Ctrl-C.
background() {
  set -m
  "$@" </dev/null &
  set +m
  groups[$!]=started
}

# With this, Ctrl-C, a closed terminal or `kill` leaves nothing behind that works on unseen.
stop_when_interrupted() { trap interrupted INT TERM HUP; }
interrupted() {
  local group i
  trap '' INT TERM HUP
  for group in "${!groups[@]}"; do kill -TERM -- "-$group" 2>/dev/null || :; done
  for group in "${!groups[@]}"; do
    for ((i = 0; i < 50; i++)); do
      kill -0 -- "-$group" 2>/dev/null || break
      sleep 0.2
    done
    kill -KILL -- "-$group" 2>/dev/null || :
  done
  [[ -t 2 ]] && printf '\r%-110s\r' '' >&2
  say "interrupted: all that was started has ended; the same command continues"
  exit 130
}

# quietly LOG COMMAND...: run COMMAND with its output in LOG and a progress line with the seconds
# gone; on failure show the end of LOG and return COMMAND's status.
quietly() {
  local log=$1 started=$SECONDS status=0 pid
  shift
  mkdir -p "$(dirname "$log")"
  background "$@" >"$log" 2>&1
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    if [[ -t 2 ]]; then
      printf '\r    %3ds  %-100.100s' $((SECONDS - started)) "$(tail -n 1 "$log" | tr -dc '[:print:]')" >&2
    elif (((SECONDS - started) % 30 == 29)); then
      printf '    %3ds  %.100s\n' $((SECONDS - started)) "$(tail -n 1 "$log" | tr -dc '[:print:]')" >&2
    fi
    sleep 1
  done
  wait "$pid" || status=$?
  unset "groups[$pid]"
  [[ -t 2 ]] && printf '\r%-110s\r' '' >&2
  if ((status)); then
    tail -n 25 "$log" >&2
    say "    failed after $((SECONDS - started)) s; the whole log: $log"
  else
    say "    done in $((SECONDS - started)) s"
  fi
  return "$status"
}

# take_lock COMMAND [SECONDS]: one command at a time may change a project; another one fails at
# once, or after SECONDS. What COMMAND starts inherits the lock as descriptor 9, so a killed COMMAND
# holds it for as long as its children work.
take_lock() {
  local file
  stop_when_interrupted
  # The commands that COMMAND calls are a part of it. flock is in util-linux: without it there is no
  # lock.
  if [[ ${SCALE_OUT_LOCK:-} == "$COMPOSE_PROJECT_NAME" ]] || ! have flock; then return 0; fi
  mkdir -p "$state_dir"
  file=$state_dir/lock-${COMPOSE_PROJECT_NAME//[^a-z0-9_-]/_}
  while true; do
    exec 8>>"$file"
    flock --wait "${2:-0}" 8 || end_leftovers "$file" || fail "$(holder "$file"): try again when it has ended"
    [[ $file -ef /dev/fd/8 ]] && break # else `make clean` has just removed the file
  done
  exec 9>&8 8>&-
  printf '%s %s %s\n' "$$" "$(namespace)" "$1" >"$file"
  export SCALE_OUT_LOCK=$COMPOSE_PROJECT_NAME
}

namespace() { readlink /proc/self/ns/pid; }

holder() { # FILE
  local pid where name
  read -r pid where name <"$1" || :
  [[ $where == "$(namespace)" ]] || pid+=" in a container"
  printf '%s (process %s) is changing the stack %s' "${name:-another command}" "$pid" "$COMPOSE_PROJECT_NAME"
}

# end_leftovers FILE: where the holder was killed, end what it had started, and take the lock.
end_leftovers() {
  local pid where name descriptor
  read -r pid where name <"$1" || :
  [[ $where == "$(namespace)" ]] && ! kill -0 "$pid" 2>/dev/null || return 1
  say "    ending what a killed $name has left"
  for descriptor in /proc/[0-9]*/fd/9; do
    if [[ $descriptor -ef $1 ]]; then
      pid=${descriptor#/proc/}
      kill -TERM "${pid%%/*}" 2>/dev/null || :
    fi
  done
  flock --wait 30 8
}

compose() { docker compose "$@"; }

# The Compose files of each of the project's containers, also of those that are stopped.
config_files() {
  docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --format '{{.Label "com.docker.compose.project.config_files"}}'
}

# Whether the project's containers are those of `make dev`.
dev_runs() { config_files | grep -q compose.dev.yaml; }

# The services of compose.yaml that run the application: each says which it is.
app_services() { grep -oE '\bSERVICE: [a-z-]+' "$root/compose.yaml" | cut -d ' ' -f 2; }

# Let Compose act on the development stack from here on. Of the application's services
# compose.dev.yaml names the few that are special there; the others are all alike.
dev_settings() {
  local services=$state_dir/compose.services.yaml name
  mkdir -p "$state_dir"
  {
    sed -n '/^x-code:/,/^x-elsewhere:/{/^x-elsewhere:/d;p}' "$root/compose.dev.yaml"
    echo 'services:'
    for name in $(app_services); do
      if [[ $name == web || $name == migrate ]]; then continue; fi
      printf '  %s: { <<: *service, command: [python, -m, config.dev.reload] }\n' "$name"
    done
    # One server has all databases, but for those of a shard that is added.
    printf '  postgres-1: { environment: { DATABASES: "%s" } }\n' \
      "$(sed -nE 's/.*\bDATABASES: ([a-z0-9_: ]*[a-z]).*/\1/p' "$root/compose.yaml" | tr ' ' '\n' | grep -v _shard_3: | paste -sd ' ')"
  } >"$services"
  export COMPOSE_FILE=compose.yaml:compose.dev.yaml:$services COMPOSE_PROFILES=nginx DEV_USER
  DEV_USER=$(owner)
}

# The user and group of app/: whom files that are made there belong to. An engine without root maps
# its user to root.
owner() { if docker info --format '{{.SecurityOptions}}' | grep -q rootless; then echo 0:0; else stat -c %u:%g "$root/app"; fi; }

# shellcheck source=scripts/settings.sh
source "$root/scripts/settings.sh"
# shellcheck source=scripts/rules.sh
source "$root/scripts/rules.sh"
