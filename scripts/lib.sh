# shellcheck shell=bash
# Shared by the scripts in this folder: messages, and the one way to call Compose.

say() { printf '%s\n' "$*" >&2; }
step() { printf '==> %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for the scripts that read this file
state_dir=$root/.scale-out # logs and markers of make up; ignored by git

# quietly LOG COMMAND...: run COMMAND with its output in LOG and a progress line with the seconds
# gone; on failure show the end of LOG and return COMMAND's status.
quietly() {
  local log=$1 started=$SECONDS status=0 pid
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 </dev/null &
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
  [[ -t 2 ]] && printf '\r%-110s\r' '' >&2
  if ((status)); then
    tail -n 25 "$log" >&2
    say "    failed after $((SECONDS - started)) s; the whole log: $log"
  else
    say "    done in $((SECONDS - started)) s"
  fi
  return "$status"
}

compose() { docker compose "$@"; }

# shellcheck source=scripts/settings.sh
source "$root/scripts/settings.sh"
# shellcheck source=scripts/rules.sh
source "$root/scripts/rules.sh"
