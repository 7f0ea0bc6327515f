#!/usr/bin/env bash
# Start Redis as `cache`, as `queue`, as a node of the cache's cluster (`cluster`), as a server of
# the queue that Sentinels watch (`replicated-queue`), or as such a Sentinel (`sentinel`).
set -euo pipefail

refuse() {
  printf 'redis: %s\n' "$1" >&2
  exit 64
}

main() {
  umask 077
  case ${1:-} in
    cache | queue) configuration "$1" "$1" >/tmp/redis.conf ;;
    cluster) cluster ;;
    replicated-queue) replicated_queue ;;
    sentinel) sentinel ;;
    *) refuse "command \"${1:-}\": must be cache, queue, cluster, replicated-queue or sentinel" ;;
  esac
  if [[ ${1:-} == c* ]]; then guard & fi # the queue's users have no scripts
  exec redis-server /tmp/redis.conf
}

# Of one connection, once a second: end a script that does not end, which would hold up everybody.
# One that has written can be ended with the server only.
guard() {
  local answer
  while sleep 1; do
    operate -r -1 -i 1 PING 2>/dev/null | while read -r answer; do
      if [[ $answer == *BUSY* && $(operate SCRIPT KILL) == *UNKILLABLE* ]]; then operate SHUTDOWN NOSAVE; fi
    done
  done
}
operate() { /usr/local/bin/operator "$@"; } # the function `operator` makes the user

# word NAME: the one word that the secret NAME holds.
word() {
  local secret=/run/secrets/$1 found
  [[ -r $secret ]] || refuse "secret $1: cannot be read"
  found=$(<"$secret")
  [[ -n $found && $found != *[[:space:]]* ]] || refuse "secret $1: must be one word, not empty"
  printf %s "$found"
}

hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }

# What the words in cache.users and queue.users stand for. No user has FLUSHALL, KEYS, SCAN, CONFIG,
# EVAL, SCRIPT FLUSH, FUNCTION, MONITOR, ACL or their like. A script does nothing that its caller
# may not do, and `guard` ends it where it does not end by itself.
declare -A rules=(
  [connect]='+ping +hello +auth +client|setinfo +client|setname'
  [data]='+get +set +del +mget +getrange +exists +ttl +pttl +expire +pexpire +incr +decr +time +publish +subscribe +unsubscribe'
  [scripts]='+evalsha +script|load'
  [revoke]='+zadd +zremrangebyscore +zremrangebyrank +zrangebyscore'
  [revoked]='(%R~identity:revoked +zrangebyscore)'
  [put]='+lpush +llen +multi +exec +discard +wait'
  [take]='+brpop +lrange +lrem +rpop +rpush +lpush +llen +zadd +zrem +zrange +zrevrangebyscore +hset +hget +hdel +set +get +del +exists +watch +unwatch +multi +exec +discard +wait'
  [lengths]='(~celery ~users ~orders ~shop.* ~users.* ~orders.* +llen)'
  [figures]='+info +latency|latest +latency|histogram +slowlog|len +cluster|info'
  [cluster]='+cluster|slots +cluster|shards +cluster|nodes +cluster|myid +cluster|keyslot +command +readonly +readwrite +asking'
  # Of the release before, while its containers serve: one user for all, whom retire-default ends.
  [before]='~* &* +@all -@dangerous +info +slowlog|get +slowlog|len +latency|latest +latency|histogram'
)

# users ROLE [WORD...]: a line for each user of cache.users or queue.users, with the hash of its
# password and, besides its own, the rules that the words stand for. The secret redis_ROLE_acl has a
# name and a hash a line: no password is here.
users() {
  local -A hashes=()
  local user rest one more="${rules[connect]}" known=/run/secrets/redis_$1_acl
  [[ -r $known ]] || refuse "secret redis_$1_acl: cannot be read"
  while read -r user rest; do
    [[ $rest =~ ^[0-9a-f]{64}$ ]] || refuse "secret redis_$1_acl: must have a user and a SHA-256 a line"
    hashes[$user]=$rest
  done <"$known"
  for one in "${@:2}"; do more+=" ${rules[$one]}"; done
  while read -r user rest; do
    [[ $user && $user != \#* ]] || continue
    [[ ${hashes[$user]:-} ]] || refuse "secret redis_$1_acl: has no password of $user"
    for one in revoked "${!rules[@]}"; do rest=${rest//@@$one/"${rules[$one]}"}; done # first the longer of two that begin alike
    printf 'user %s on #%s resetchannels %s %s %s\n' "$user" "${hashes[$user]}" "$more" "$rest" "${EXTRA_RULES:-}"
  done <"/etc/scale-out-redis/$1.users"
  if [[ ${hashes[default]:-} ]]; then
    printf 'user default on #%s %s\n' "${hashes[default]}" "${rules[before]}"
  else
    echo 'user default reset'
  fi
}

# configuration CONFIG ROLE [WORD...]: a configuration with the users of a role, and the operator.
configuration() {
  printf 'include /etc/scale-out-redis/%s.conf\n' "$1"
  users "${@:2}"
  operator
}

# replication SECRET: what servers that copy each other have besides. Such a user can do nothing
# else.
replication() {
  local password
  password=$(word "$1")
  printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\nmasteruser replica\nmasterauth %s\n' "$(hash "$password")" "$password"
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
    configuration cache cache cluster
    replication redis_cluster
    echo "include /etc/scale-out-redis/cluster.conf"
    echo "cluster-announce-hostname $NODE"
  } >/tmp/redis.conf
  cluster-keeper & # ends with the container
}

# The queue's servers and Sentinels have a secret that the application has not. They know each other
# by address, not by name: a Sentinel waits for the resolver when it looks for a server that is
# gone, and Docker's may leave it without an answer.
watched() {
  local name
  [[ ${NODE:-} =~ ^[a-z0-9-]+$ ]] || refuse "NODE=\"${NODE:-}\": must be the host name of this server"
  for name in SERVERS SENTINELS; do
    [[ ${!name:-} =~ ^[a-z0-9-]+(\ [a-z0-9-]+)*$ ]] || refuse "$name=\"${!name:-}\": must be host names"
  done
  word=$(word redis_sentinel)
}

address() { getent ahostsv4 "$1" | head -n 1 | cut -d ' ' -f 1; }
ask() { REDISCLI_AUTH=$word timeout 1 redis-cli --no-auth-warning --user sentinel "$@" 2>/dev/null; }

replicated_queue() {
  local word primary configuration=/var/lib/redis/redis.conf before
  watched
  # As the Sentinels say. Where none has answered for long: as it was here before; at the very first
  # start the first is it.
  before=$(grep -s '^replicaof ' "$configuration") || [[ -e $configuration || $NODE == "${SERVERS%% *}" ]] || before="replicaof $(address "${SERVERS%% *}") 6379"
  if primary=$(told); then
    if [[ $primary == "$(address "$NODE")" ]]; then before=''; else before="replicaof $primary 6379"; fi
  fi
  {
    configuration replicated-queue queue
    printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\n' "$(hash "$word")"
    # What Redis's documentation lists for Sentinels.
    printf 'user sentinel on #%s resetchannels &__sentinel__:hello -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill\n' "$(hash "$word")"
    printf 'masteruser replica\nmasterauth %s\n%s\n' "$word" "$before"
  } >"$configuration"
  exec redis-server "$configuration" # which the Sentinels change when the primary does
}

# told: the address of the primary, once a Sentinel names one that is this server, or says of itself
# that it is the primary. A Sentinel may name one that is gone until it has chosen another.
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
  local word name primary
  watched
  # By name, since addresses may all be others after a start of everything.
  name=$(cat /var/lib/redis/primary 2>/dev/null) || name=${SERVERS%% *}
  until primary=$(told_by_another) || { primary=$(address "$name") && [[ -n $primary ]]; }; do sleep 0.5; done
  cat >/tmp/redis.conf <<TEXT
port 26379
dir /tmp
$(askers)
$(operator)
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

# The users of the queue may ask where it is.
askers() {
  local user hash
  while read -r user hash; do
    printf 'user %s reset on #%s %s +sentinel|masters +sentinel|get-master-addr-by-name\n' "$user" "$hash" "${rules[connect]}"
  done </run/secrets/redis_queue_acl
  grep -q '^default ' /run/secrets/redis_queue_acl || echo 'user default reset'
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
