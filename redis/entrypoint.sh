#!/usr/bin/env bash
# Start Redis as `cache`, as `queue`, as a node of the cache's cluster (`cluster`), as a server of the queue that
# Sentinels watch (`replicated-queue`), or as such a Sentinel (`sentinel`).
set -euo pipefail

refuse() {
  printf 'redis: %s\n' "$1" >&2
  exit 64
}

main() {
  umask 077
  case ${1:-} in
    cache | queue) user "$1" "$1" >/tmp/redis.conf ;;
    cluster) cluster ;;
    replicated-queue) replicated_queue ;;
    sentinel) sentinel ;;
    *) refuse "command \"${1:-}\": must be cache, queue, cluster, replicated-queue or sentinel" ;;
  esac
  exec redis-server /tmp/redis.conf
}

# The password of a role, as its secret has it.
password() {
  local secret=/run/secrets/redis_$1 word
  [[ -r $secret ]] || refuse "secret redis_$1: cannot be read"
  word=$(<"$secret")
  [[ -n $word && $word != *[[:space:]]* ]] || refuse "secret redis_$1: must be one word, not empty"
  printf %s "$word"
}

hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }

# user CONFIG ROLE: the configuration with the one user of the application, who may do what it needs: not empty,
# configure, stop or copy the server. It holds the password's hash only. -@dangerous takes away FLUSHALL, FLUSHDB, KEYS,
# CONFIG, DEBUG, SHUTDOWN, MODULE, REPLICAOF, SAVE, MONITOR, ACL SETUSER and their like. Of these, monitoring needs INFO,
# the slow log and latency, and only to read. app/scaleout/caching/ needs EVAL and PUBLISH/SUBSCRIBE (&*) on the cache, which this
# leaves: neither can do more than the user's other commands.
user() {
  local word
  word=$(password "$2")
  printf 'include /etc/scale-out-redis/%s.conf\nuser default on #%s ~* &* +@all -@dangerous %s\n' \
    "$1" "$(hash "$word")" '+info +slowlog|get +slowlog|len +latency|latest +latency|histogram'
}

# replication ROLE: what servers that copy each other have besides. A copy shows nothing that the application's user may
# not read, so the two have one password; of its user a server can do nothing else with it.
replication() {
  local word
  word=$(password "$1")
  printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\nmasteruser replica\nmasterauth %s\n' "$(hash "$word")" "$word"
}

# An operator who is inside this container only: its password is made anew at each start.
operator() {
  head -c 24 /dev/urandom | base64 >/tmp/operator
  printf 'user operator on #%s ~* &* +@all\n' "$(hash "$(</tmp/operator)")"
}

cluster() {
  [[ ${NODE:-} =~ ^[a-z0-9-]+$ ]] || refuse "NODE=\"${NODE:-}\": must be the host name of this node"
  [[ " ${NODES:-} " == *" $NODE "* ]] || refuse "NODES=\"${NODES:-}\": must be the host names of all nodes, with $NODE"
  {
    user cache cache
    replication cache
    operator
    echo "include /etc/scale-out-redis/cluster.conf"
    echo "cluster-announce-hostname $NODE"
  } >/tmp/redis.conf
  cluster-keeper & # ends with the container
}

# The queue's servers and Sentinels have a secret that the application has not. They know each other by address, not by name:
# a Sentinel waits for the resolver when it looks for a server that is gone, and Docker's may leave it without an answer.
watched() {
  local name
  [[ ${NODE:-} =~ ^[a-z0-9-]+$ ]] || refuse "NODE=\"${NODE:-}\": must be the host name of this server"
  for name in SERVERS SENTINELS; do
    [[ ${!name:-} =~ ^[a-z0-9-]+(\ [a-z0-9-]+)*$ ]] || refuse "$name=\"${!name:-}\": must be host names"
  done
  word=$(password sentinel)
}

address() { getent ahostsv4 "$1" | head -n 1 | cut -d ' ' -f 1; }
ask() { REDISCLI_AUTH=$word timeout 1 redis-cli --no-auth-warning --user sentinel "$@" 2>/dev/null; }

replicated_queue() {
  local word primary configuration=/var/lib/redis/redis.conf before
  watched
  # As the Sentinels say. Where none has answered for long: as it was here before; at the very first start the first is it.
  before=$(grep -s '^replicaof ' "$configuration") || [[ -e $configuration || $NODE == "${SERVERS%% *}" ]] || before="replicaof $(address "${SERVERS%% *}") 6379"
  if primary=$(told); then
    if [[ $primary == "$(address "$NODE")" ]]; then before=''; else before="replicaof $primary 6379"; fi
  fi
  {
    user replicated-queue queue
    printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\n' "$(hash "$word")"
    # What Redis's documentation lists for Sentinels.
    printf 'user sentinel on #%s resetchannels &__sentinel__:hello -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill\n' "$(hash "$word")"
    printf 'masteruser replica\nmasterauth %s\n%s\n' "$word" "$before"
  } >"$configuration"
  exec redis-server "$configuration" # which the Sentinels change when the primary does
}

# told: the address of the primary, once a Sentinel names one that is this server, or says of itself that it is the primary.
# A Sentinel may name one that is gone until it has chosen another.
told() {
  local sentinel primary
  while ((SECONDS < 20)); do
    for sentinel in $SENTINELS; do
      primary=$(ask -h "$sentinel" -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME queue | head -n 1)
      [[ $primary =~ ^[0-9.]+$ ]] || continue
      if [[ $primary == "$(address "$NODE")" || $(ask -h "$primary" ROLE | head -n 1) == master ]]; then echo "$primary" && return; fi
    done
    sleep 0.5
  done
  return 1
}

sentinel() {
  local word application name primary
  watched
  application=$(password queue)
  # By name, since addresses may all be others after a start of everything.
  name=$(cat /var/lib/redis/primary 2>/dev/null) || name=${SERVERS%% *}
  until primary=$(told_by_another) || { primary=$(address "$name") && [[ -n $primary ]]; }; do sleep 0.5; done
  cat >/tmp/redis.conf <<TEXT
port 26379
dir /tmp
user default on #$(hash "$application") resetchannels -@all +ping +hello +auth +client|setinfo +client|setname +sentinel|masters +sentinel|get-master-addr-by-name
user sentinel on #$(hash "$word") ~* &* +@all
sentinel sentinel-user sentinel
sentinel sentinel-pass $word
sentinel myid $(printf %s "$NODE" | sha1sum | cut -d ' ' -f 1)
sentinel monitor queue $primary 6379 2
sentinel auth-user queue sentinel
sentinel auth-pass queue $word
sentinel down-after-milliseconds queue 3000
sentinel failover-timeout queue 10000
TEXT
  remember &
  exec redis-server /tmp/redis.conf --sentinel
}

told_by_another() {
  local sentinel primary
  for sentinel in $SENTINELS; do
    [[ $sentinel != "$NODE" ]] || continue
    primary=$(ask -h "$sentinel" -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME queue | head -n 1)
    if [[ $primary =~ ^[0-9.]+$ ]]; then echo "$primary" && return; fi
  done
  return 1
}

# Write down the name of the primary as it changes.
remember() {
  local primary name
  while sleep 2; do
    primary=$(ask -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME queue | head -n 1)
    for name in $SERVERS; do
      if [[ -n $primary && $primary == "$(address "$name")" ]]; then echo "$name" >/var/lib/redis/new && mv /var/lib/redis/new /var/lib/redis/primary; fi
    done
  done
}

main "$@"
