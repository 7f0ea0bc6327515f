#!/usr/bin/env bash
# make manage CMD="…" [S=service], make migrations [APP="…"], make shell [S=service]: Django's
# commands, in a container that is removed afterwards. CMD is split into words as a shell would, and
# nothing in it is expanded.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

# What reads CMD in the container.
# shellcheck disable=SC2016 # Python
run_command='import os, shlex, sys
try:
    words = shlex.split(os.environ["CMD"])
except ValueError as error:
    sys.exit(f"error: CMD: {error}")
os.execv(sys.executable, [sys.executable, "/app/manage.py", *words])'

manage() {
  local words service
  export CMD=${CMD:-}
  read -ra words <<<"$CMD"
  case ${words[0]:-} in
    '') fail "which command? make manage CMD=help" ;;
    makemigrations | optimizemigration | startapp | makemessages | compilemessages) write_files ;;
  esac
  case ${words[0]} in
    # Of all databases, by their owners.
    migrate | prepare | showmigrations | sqlmigrate | sqlflush | flush | reshard) service=migrate ;;
    *) service=web ;;
  esac
  if [[ $CMD =~ ^[[:space:]]*migrate[[:space:]]*$ ]]; then
    CMD=prepare
    say "    of every database, as at each start: this is the command prepare"
  fi
  in_stack "${S:-$service}"
}

migrations() {
  [[ ${APP:-} =~ ^[a-z0-9_\ ]*$ ]] || fail "APP=$APP: must be labels of applications, such as: make migrations APP=products"
  # By their names, or an application that has no migrations yet would be left out.
  local labels=() models folder label
  for models in app/{*,*/*}/models{.py,/__init__.py}; do
    [[ -e $models ]] || continue
    folder=${models%/models*}
    label=$(sed -n 's/^ *label = "\([a-z_]*\)".*/\1/p' "$folder/apps.py" 2>/dev/null || :)
    labels+=("${label:-${folder##*/}}")
  done
  export CMD="makemigrations ${APP:-${labels[*]}}"
  write_files
}

shell() {
  export CMD=shell
  in_stack "${S:-web}"
}

# In this work tree, and without a database: it needs no stack. The files belong to the owner of
# app/.
write_files() {
  local image=$COMPOSE_PROJECT_NAME-app-dev
  docker image inspect "$image" >/dev/null 2>&1 || image=$COMPOSE_PROJECT_NAME-app
  docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image yet: run make dev first"
  exec docker run --rm --interactive "${terminal[@]}" --network none --read-only --tmpfs /tmp --cap-drop ALL \
    --user "$(owner)" --volume "$root/app:/app" --env CMD --env SERVICE=build \
    --entrypoint python "$image" -c "$run_command"
}

# With the settings and the secrets of a service; in development with the code of this work tree.
in_stack() {
  local service=$1 terminal=(--no-TTY)
  app_services | grep -qxF -e "$service" || fail "S=$service: must be a service of app/, such as web or orders"
  [[ -n $(compose ps --quiet --status running "$service" web 2>/dev/null) ]] || fail "no running stack: run make dev or make up first"
  if dev_runs; then dev_settings; fi
  if [[ -t 0 && -t 1 ]]; then terminal=(); fi
  exec docker compose run --rm --no-deps "${terminal[@]}" --env CMD --env LOG_LEVEL=WARNING \
    --entrypoint python "$service" -c "$run_command"
}

load_settings
docker info >/dev/null 2>&1 || fail "no Docker engine answers: run make dev first"
terminal=()
if [[ -t 0 && -t 1 ]]; then terminal=(--tty); fi
"$1"
