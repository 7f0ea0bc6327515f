# shellcheck shell=bash
# The settings of the stack: read as Compose reads them, and written so that Compose reads them
# back. .env.example is the one list of their names; scripts/rules.sh says which values are allowed.
# shellcheck disable=SC2154 # lib.sh sets root

setting_names=()
declare -A demo=()    # by name: the value of .env.example
declare -A in_file=() # by name: the value of .env, as Compose reads it
declare -A in_use=()  # by name: the value that Compose uses, the environment before .env
# The settings that identify the stack. `make up` writes them into .env.
readonly STACK_SETTINGS=(COMPOSE_PROJECT_NAME COMPOSE_PROFILES HTTP_PORT HTTPS_PORT PROMETHEUS_PORT CDN_PORT
  EXTRA_REPLICAS EXTRA_SHARDS COMPOSE_FILE)

# Read the settings and export those that identify the stack. A wrong one of these ends every
# script, because it would act on another stack.
load_settings() {
  local name
  read_settings
  for name in "${STACK_SETTINGS[@]}"; do
    export "$name=${in_use[$name]:-${demo[$name]}}"
  done
  [[ -n $COMPOSE_FILE ]] || unset COMPOSE_FILE # Compose takes an empty one for a file
  LB=${LB:-$COMPOSE_PROFILES}
  export LB=${LB%%,*}
  # A server that was added has its name for a profile: the setting that names it also starts it.
  export COMPOSE_PROFILES=$LB${EXTRA_REPLICAS:+,$EXTRA_REPLICAS}${EXTRA_SHARDS:+,$EXTRA_SHARDS}
  names_a_stack || check_settings
}

# setting NAME [DEFAULT]: the value that Compose uses.
setting() {
  read_settings
  printf '%s' "${in_use[$1]:-${2:-}}"
}

# recorded NAME: the value of .env.
recorded() {
  read_settings
  printf '%s' "${in_file[$1]:-}"
}

# Once in a script; `recorded` and `setting` in a $(...) read what it has read.
read_settings() {
  local line name
  ((${#setting_names[@]} == 0)) || return 0
  # An empty variable would hide the line in .env. (Of EXTRA_* it says that there is none any more.)
  for name in "${STACK_SETTINGS[@]}"; do
    if [[ $name != EXTRA_* && -z ${!name:-} ]]; then unset "$name"; fi
  done
  while IFS= read -r line; do
    [[ $line =~ ^(#\ )?([A-Z][A-Z0-9_]*)=(.*)$ ]] || continue
    setting_names+=("${BASH_REMATCH[2]}")
    demo[${BASH_REMATCH[2]}]=${BASH_REMATCH[3]}
    if [[ ${BASH_REMATCH[1]} ]]; then demo[${BASH_REMATCH[2]}]=; fi
  done <"$root/.env.example"
  if [[ -e $root/.env ]]; then ask_compose "$root/.env"; else ask_compose; fi
}

# ask_compose [FILE]: fill `in_file` with the values of FILE, and `in_use`. One call of Compose.
ask_compose() {
  local answer line name value service='' inside=''
  in_file=() in_use=()
  if ! have docker; then # `make up` installs it before it reads the settings
    for name in "${setting_names[@]}"; do in_use[$name]=${!name:-}; done
    return
  fi
  answer=$(cd "$root" && question "$@" | timeout 60 docker compose --project-name settings --file - config --format json 2>&1) \
    || fail "$(reason_of "$answer")"
  while IFS= read -r line; do
    if [[ $line =~ ^\ +\"(file|use)\":\ \{$ ]]; then
      service=${BASH_REMATCH[1]}
    elif [[ $line =~ ^\ +\"environment\":\ \{$ ]]; then
      inside=yes
    elif [[ $inside && $line =~ ^\ +\"([A-Za-z0-9_.-]+)\":\ \"(.*)\",?$ ]]; then
      name=${BASH_REMATCH[1]}
      unescape "${BASH_REMATCH[2]}"
      if [[ $service == file ]]; then in_file[$name]=$value; else in_use[$name]=$value; fi
    elif [[ $line =~ ^\ +\},?$ ]]; then
      inside=
    fi
  done <<<"$answer"
  # Asked under a name of its own: Compose refuses to answer for a project with a wrong name.
  in_use[COMPOSE_PROJECT_NAME]=${COMPOSE_PROJECT_NAME:-${in_file[COMPOSE_PROJECT_NAME]:-}}
}

# question [FILE]: a Compose file with all settings, and with all lines of FILE, as environments.
question() {
  local name
  printf 'services:\n  use:\n    image: none\n    environment:\n'
  # shellcheck disable=SC2016 # Compose expands it
  for name in "${setting_names[@]}"; do printf '      %s: "${%s-}"\n' "$name" "$name"; done
  if [[ -n ${1:-} ]]; then printf "  file:\n    image: none\n    env_file: ['%s']\n" "${1//\'/\'\'}"; fi
}

# unescape TEXT: set `value` to the meaning of a string in Compose's JSON, which has each $ twice.
unescape() {
  printf -v value '%b' "${1//\\\"/\\x22}"
  value=${value//'$$'/'$'}
}

# reason_of OUTPUT: what a failed Compose says, in one line.
reason_of() {
  local lines
  if ! docker compose version >/dev/null 2>&1; then
    echo "Docker Compose does not answer: run make up first"
    return
  fi
  lines=$(grep -v level=warning <<<"$1" | tr -s '[:space:][:cntrl:]' ' ' || :)
  lines=${lines% }
  shown "${lines:-docker compose config did not answer within 60 s}"
}

# shown TEXT: in one line that cannot move a terminal's cursor, and not too long.
shown() {
  local text=$1
  if ((${#text} > 300)); then text=${text:0:300}…; fi
  if [[ $text == *[[:cntrl:]]* ]]; then printf '%q' "$text"; else printf '%s' "$text"; fi
}

# Write the stack's settings into .env, so that a plain `docker compose` acts on the same stack. A
# second stack from the same clone (another COMPOSE_PROJECT_NAME) is not recorded: its settings go
# with each call.
remember_settings() {
  local name owner changed=()
  owner=$(recorded COMPOSE_PROJECT_NAME)
  [[ -z $owner || $owner == "$COMPOSE_PROJECT_NAME" ]] || return 0
  for name in "${STACK_SETTINGS[@]}"; do
    if [[ $name == COMPOSE_FILE && -z ${COMPOSE_FILE:-} ]]; then continue; fi
    if [[ -z ${in_file[$name]+set} || ${in_file[$name]} != "${!name}" ]]; then changed+=("$name"); fi
  done
  if ((${#changed[@]})); then write_env "${changed[@]}"; fi
}

# write_env NAME...: put the variables NAME... into .env, all of them or none.
write_env() {
  local file temporary name
  file=$(readlink -f "$root/.env") # a link stays one
  temporary=$(mktemp "$file~XXXXXX") || fail ".env cannot be written"
  if [[ -e $file ]]; then cp -p "$file" "$temporary"; else chmod 644 "$temporary"; fi
  env_with "$file" "$@" >"$temporary"
  if ! reads_back "$temporary" "$@"; then
    rm -f "$temporary"
    fail ".env: Compose would not read $* as written: change these lines by hand"
  fi
  mv -f "$temporary" "$file"
  for name in "$@"; do in_file[$name]=${!name}; done
}

# env_with FILE NAME...: the lines of FILE, with the variables NAME... in their last lines, or at
# the end.
env_with() {
  local lines=() name number found end=''
  if [[ -e $1 ]]; then mapfile -t lines <"$1"; fi
  if [[ ${lines[0]:-} == *$'\r' ]]; then end=$'\r'; fi
  shift
  for name in "$@"; do
    found=$(line_of "$name" "${lines[@]}")
    if [[ $found ]]; then
      number=$((found - 1))
      lines[number]=$(changed_line "${lines[number]}" "$name")
    else
      lines+=("$name=$(quoted "${!name}")$end")
    fi
  done
  printf '%s\n' "${lines[@]}"
}

# line_of NAME LINE...: the number of the last line that sets NAME; nothing if none does.
line_of() {
  local name=$1 number=0 found='' line
  shift
  for line in "$@"; do
    number=$((number + 1))
    if [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?${name}[[:space:]]*[=:] ]]; then found=$number; fi
  done
  printf '%s' "$found"
}

# changed_line LINE NAME: LINE with the variable NAME as its value; what stands around it is kept.
changed_line() {
  local line=${1%$'\r'} end='' old comment=''
  local quotes=$'^(\'[^\']*\'|"([^"\\\\]|\\\\.)*")([[:space:]]+#.*)?$' plain='^[^[:space:]#]*([[:space:]]+#.*)?$'
  if [[ $1 == *$'\r' ]]; then end=$'\r'; fi
  [[ $line =~ ^([[:space:]]*(export[[:space:]]+)?$2[[:space:]]*[=:][[:space:]]*)(.*)$ ]]
  local before=${BASH_REMATCH[1]}
  old=${BASH_REMATCH[3]}
  if [[ $old =~ $quotes ]]; then comment=${BASH_REMATCH[3]}; elif [[ $old =~ $plain ]]; then comment=${BASH_REMATCH[1]}; fi
  printf '%s%s%s%s' "$before" "$(quoted "${!2}")" "$comment" "$end"
}

# quoted TEXT: as Compose reads it in .env.
quoted() {
  local text=$1
  if [[ $text =~ ^[A-Za-z0-9_./:,@+=-]*$ ]]; then
    printf '%s' "$text"
  elif [[ $text != *\'* ]]; then
    printf "'%s'" "$text"
  else
    text=${text//\\/\\\\} text=${text//\"/\\\"}
    printf '"%s"' "${text//'$'/'\$'}"
  fi
}

# reads_back FILE NAME...: whether Compose reads the variables NAME... in FILE, and all else that
# .env sets.
reads_back() (
  local file=$1 name names=("${!in_file[@]}")
  shift
  ask_compose "$file"
  for name in "$@"; do [[ ${in_file[$name]-} == "${!name}" ]] || return 1; done
  for name in "${names[@]}"; do [[ ${in_file[$name]+set} ]] || return 1; done
)
