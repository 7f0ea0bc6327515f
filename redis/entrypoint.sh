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
# the slow log and latency, and only to read. app/caching/ needs EVAL and PUBLISH/SUBSCRIBE (&*) on the cache, which this
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

# The queue's servers and Sentinels have a secret that the application has not.
watched() {
  local name
  [[ ${NODE:-} =~ ^[a-z0-9-]+$ ]] || refuse "NODE=\"${NODE:-}\": must be the host name of this server"
  for name in PRIMARY SENTINELS; do
    [[ ${!name:-} =~ ^[a-z0-9-]+(\ [a-z0-9-]+)*$ ]] || refuse "$name=\"${!name:-}\": must be host names"
  done
  word=$(password sentinel)
}

replicated_queue() {
  local word primary configuration=/var/lib/redis/redis.conf
  watched
  # Who is the primary: as the Sentinels say; where none answers, as it was here; at the very first start, as is set.
  primary=$(ask_sentinels) || primary=$(sed -n 's/^replicaof \([^ ]*\) .*/\1/p' "$configuration" 2>/dev/null) || primary=$PRIMARY
  {
    user replicated-queue queue
    printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\n' "$(hash "$word")"
    # What Redis's documentation lists for Sentinels.
    printf 'user sentinel on #%s resetchannels &__sentinel__:hello -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill\n' "$(hash "$word")"
    printf 'masteruser replica\nmasterauth %s\nreplica-announce-ip %s\n' "$word" "$NODE"
    [[ -z $primary || $primary == "$NODE" ]] || echo "replicaof $primary 6379"
  } >"$configuration"
  exec redis-server "$configuration" # the Sentinels change it, so that it is known here who the primary was last
}

ask_sentinels() {
  local sentinel address
  for sentinel in $SENTINELS; do
    address=$(REDISCLI_AUTH=$word timeout 1 redis-cli -h "$sentinel" -p 26379 --no-auth-warning --user sentinel SENTINEL GET-MASTER-ADDR-BY-NAME queue 2>/dev/null | head -n 1)
    if [[ $address =~ ^[a-z0-9-]+$ ]]; then echo "$address" && return; fi
  done
  return 1
}

sentinel() {
  local word application configuration=/var/lib/redis/sentinel.conf
  watched
  application=$(password queue)
  # What it has learned since is in there too.
  [[ -s $configuration ]] || cat >"$configuration" <<TEXT
port 26379
dir /var/lib/redis
user default on #$(hash "$application") resetchannels -@all +ping +hello +auth +client|setinfo +client|setname +sentinel|masters +sentinel|get-master-addr-by-name
user sentinel on #$(hash "$word") ~* &* +@all
sentinel sentinel-user sentinel
sentinel sentinel-pass $word
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $NODE
sentinel monitor queue $PRIMARY 6379 2
sentinel auth-user queue sentinel
sentinel auth-pass queue $word
sentinel down-after-milliseconds queue 3000
sentinel failover-timeout queue 10000
TEXT
  exec redis-server "$configuration" --sentinel
}

main "$@"
