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

# End a hung script, which blocks all clients. One connection checks once a second. A script that
# has written can only be ended with the server.
guard() {
  local answer
  while sleep 1; do
    operate -r -1 -i 1 PING 2>/dev/null | while read -r answer; do
      if [[ $answer == *BUSY* && $(operate SCRIPT KILL) == *UNKILLABLE* ]]; then operate SHUTDOWN NOSAVE; fi
    done
  done
}
operate() { /usr/local/bin/operator "$@"; } # not the function `operator`, which creates the user

# word NAME: print the secret NAME, which must be one word.
word() {
  local secret=/run/secrets/$1 found
  [[ -r $secret ]] || refuse "secret $1: cannot be read"
  found=$(<"$secret")
  [[ -n $found && $found != *[[:space:]]* ]] || refuse "secret $1: must be one word, not empty"
  printf %s "$found"
}

hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }

# The expansions of the words in cache.users and queue.users. No user has FLUSHALL, KEYS, SCAN,
# CONFIG, EVAL, SCRIPT FLUSH, FUNCTION, MONITOR, ACL or the like. A script has its caller's rights,
# and `guard` ends a hung one.
declare -A rules=(
  [connect]='+ping +hello +auth +client|setinfo +client|setname'
  [data]='+get +set +del +mget +getrange +exists +ttl +pttl +expire +pexpire +incr +decr +time +publish +subscribe +unsubscribe'
  [scripts]='+evalsha +script|load'
  [revoke]='+zadd +zremrangebyscore +zremrangebyrank +zrangebyscore'
  [revoked]='(%R~identity:revoked +zrangebyscore)'
  [put]='+lpush +llen +multi +exec +discard +wait'
  [take]='+brpop +lrange +lrem +rpop +rpush +lpush +llen +zadd +zrem +zrange +zrevrangebyscore +hset +hget +hdel +set +get +del +exists +watch +unwatch +multi +exec +discard +wait'
  [figures]='+info +latency|latest +latency|histogram +slowlog|len +cluster|info'
  [cluster]='+cluster|slots +cluster|shards +cluster|nodes +cluster|myid +cluster|keyslot +command +readonly +readwrite +asking'
  # The previous release's single user, while its containers run; retire-default disables it.
  [before]='~* &* +@all -@dangerous +info +slowlog|get +slowlog|len +latency|latest +latency|histogram'
)

# What a service may do that cache.users and queue.users do not name: use keys and queues with its
# own name. Its worker also takes from these queues.
by_name() { # ROLE USER
  local of=${2%-worker}
  case $1-$2 in
    cache-*) echo "~:1:$2:* @@data @@revoked" ;;
    queue-*-worker) echo "~$of.* ~$of ~unacked*:$of ~$2.* @@take @@lengths" ;;
    queue-*) echo "~$2.* @@put @@lengths" ;;
  esac
}

# users ROLE [WORD...]: a line for each user of the secret redis_ROLE_acl, which has a name and a
# hash a line: no password is here. Its rules are those of cache.users or queue.users, and those that
# the words stand for.
users() {
  local -A hashes=()
  local user rest one queues="~celery ~shop.*" more="${rules[connect]}" known=/run/secrets/redis_$1_acl
  [[ -r $known ]] || refuse "secret redis_$1_acl: cannot be read"
  while read -r user rest; do
    [[ $rest =~ ^[0-9a-f]{64}$ ]] || refuse "secret redis_$1_acl: must have a user and a SHA-256 a line"
    hashes[$user]=$rest
    if [[ $user == *-worker ]]; then queues+=" ~${user%-worker} ~${user%-worker}.*"; fi
  done <"$known"
  rules[lengths]="($queues +llen)"
  for one in "${@:2}"; do more+=" ${rules[$one]}"; done
  while read -r user rest; do
    [[ $user && $user != \#* ]] || continue
    [[ ${hashes[$user]:-} ]] || refuse "secret redis_$1_acl: has no hash for $user"
    for one in revoked "${!rules[@]}"; do rest=${rest//@@$one/"${rules[$one]}"}; done # `revoked` first: it begins with `revoke`
    printf 'user %s on #%s resetchannels %s %s %s\n' "$user" "${hashes[$user]}" "$more" "$rest" "${EXTRA_RULES:-}"
  done < <(
    cat "/etc/scale-out-redis/$1.users"
    for user in "${!hashes[@]}"; do
      if [[ $user != default ]] && ! grep -q "^$user " "/etc/scale-out-redis/$1.users"; then echo "$user $(by_name "$1" "$user")"; fi
    done
  )
  if [[ ${hashes[default]:-} ]]; then
    printf 'user default on #%s %s\n' "${hashes[default]}" "${rules[before]}"
  else
    echo 'user default reset'
  fi
}

# configuration CONFIG ROLE [WORD...]: print a configuration with the users of a role and the operator.
configuration() {
  printf 'include /etc/scale-out-redis/%s.conf\n' "$1"
  users "${@:2}"
  operator
}

# replication SECRET: print the settings and the user of replication. The user has no other rights.
replication() {
  local password
  password=$(word "$1")
  printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\nmasteruser replica\nmasterauth %s\n' "$(hash "$password")" "$password"
}

# The operator, a user inside this container only: each start makes a new password.
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

# Check the settings of the queue's servers and Sentinels, and read their own secret. They know each
# other by address, not by name: a Sentinel would wait for the resolver for a removed server, and
# Docker's resolver may not answer.
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
  # The primary is the Sentinels' choice. Without their answer the last configuration counts; at the
  # very first start the first server is the primary.
  before=$(grep -s '^replicaof ' "$configuration") || [[ -e $configuration || $NODE == "${SERVERS%% *}" ]] || before="replicaof $(address "${SERVERS%% *}") 6379"
  if primary=$(current_primary); then
    if [[ $primary == "$(address "$NODE")" ]]; then before=''; else before="replicaof $primary 6379"; fi
  fi
  {
    configuration replicated-queue queue
    printf 'user replica on #%s resetchannels -@all +ping +psync +replconf\n' "$(hash "$word")"
    # The rights that Redis's documentation lists for Sentinels.
    printf 'user sentinel on #%s resetchannels &__sentinel__:hello -@all +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill\n' "$(hash "$word")"
    printf 'masteruser replica\nmasterauth %s\n%s\n' "$word" "$before"
  } >"$configuration"
  exec redis-server "$configuration" # the Sentinels rewrite this file at a failover
}

# current_primary: print the primary's address from a Sentinel, once it is this server or confirms
# the role itself. A Sentinel may name a failed server until the failover.
current_primary() {
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
  # By name, since all addresses may change at a start of the whole stack.
  name=$(cat /var/lib/redis/primary 2>/dev/null) || name=${SERVERS%% *}
  until primary=$(primary_of_another_sentinel) || { primary=$(address "$name") && [[ -n $primary ]]; }; do sleep 0.5; done
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

# The queue's users may ask a Sentinel for the primary.
askers() {
  local user hash
  while read -r user hash; do
    printf 'user %s reset on #%s %s +sentinel|masters +sentinel|get-master-addr-by-name\n' "$user" "$hash" "${rules[connect]}"
  done </run/secrets/redis_queue_acl
  grep -q '^default ' /run/secrets/redis_queue_acl || echo 'user default reset'
}

primary_of_another_sentinel() {
  local sentinel primary
  for sentinel in $SENTINELS; do
    [[ $sentinel != "$NODE" ]] || continue
    primary=$(ask -h "$sentinel" -p 26379 SENTINEL GET-MASTER-ADDR-BY-NAME queue | head -n 1)
    if [[ $primary =~ ^[0-9.]+$ ]]; then echo "$primary" && return; fi
  done
  return 1
}

# Store the primary's name after each change.
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
