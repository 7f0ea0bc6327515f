#!/usr/bin/env bash
# idle.sh: the CPU time of the running stack, a container a line, in per cent of a core. Send it no
# requests in that time. The engine's share is of every project on this machine. The processes of a
# health check count twice: in the engine and in the container.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
  local seconds=${FOR:-60} id name all=0 engine
  [[ $seconds =~ ^[1-9][0-9]{0,3}$ ]] || fail "FOR=\"$seconds\": must be a whole number of seconds from 1 to 9999"
  load_settings
  declare -A names=() before=()
  while read -r id name; do
    names[$id]=${name#"$COMPOSE_PROJECT_NAME-"}
    before[$id]=$(used "$id")
  done < <(docker ps --no-trunc --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --format '{{.ID}} {{.Names}}')
  ((${#names[@]})) || fail "no container of $COMPOSE_PROJECT_NAME runs"
  engine=$(engine)
  sleep "$seconds"
  engine=$(($(engine) - engine))
  for id in "${!names[@]}"; do
    before[$id]=$(($(used "$id") - before[$id]))
    all=$((all + before[$id]))
  done
  for id in "${!names[@]}"; do row "${before[$id]}" "${names[$id]}"; done | sort -rn
  row "$all" "all ${#names[@]} containers"
  row "$engine" "the engine (dockerd, containerd, runc)"
  row $((all + engine)) "together"
}

# used CONTAINER: the microseconds that it has used, from its control group (v1 or v2; cgroupfs or
# systemd).
used() {
  local file
  for file in /sys/fs/cgroup/{cpuacct,cpu,cpuacct,}/{docker/"$1",system.slice/docker-"$1".scope}/{cpuacct.usage,cpu.stat}; do
    case $file in
      *.usage) [[ ! -r $file ]] || { echo $(($(<"$file") / 1000)) && return; } ;;
      *) [[ ! -r $file ]] || { sed -n 's/^usage_usec //p' "$file" && return; } ;;
    esac
  done
  fail "${names[$1]}: its control group is not to be found: is the engine on this machine?"
}

# engine: the microseconds that the engine's processes and those that they have started and seen end
# have used.
engine() {
  { cat /proc/[0-9]*/stat 2>/dev/null || :; } | # processes that end while they are listed
    awk -v tick="$(getconf CLK_TCK)" '/^[0-9]+ \((dockerd|containerd|containerd-shim.*)\)/ {
      sub(/^.*\) /, ""); sum += $12 + $13 + $14 + $15
    } END { printf "%.0f\n", sum * 1000000 / tick }'
}

row() { printf '%3d.%02d %%  %s\n' $(($1 / seconds / 10000)) $(($1 / seconds / 100 % 100)) "$2"; }

main
