#!/usr/bin/env bash
# Start Redis as `cache` or as `queue`. Its one user may do what the application needs: not empty,
# configure, stop or copy the server.
set -euo pipefail

refuse() {
  printf 'redis: %s\n' "$1" >&2
  exit 64
}

role=${1:-}
[[ $role == cache || $role == queue ]] || refuse "command \"$role\": must be cache or queue"

secret=/run/secrets/redis_$role
[[ -r $secret ]] || refuse "secret redis_$role: cannot be read"
password=$(<"$secret")
[[ -n $password && $password != *[[:space:]]* ]] || refuse "secret redis_$role: must be one word, not empty"

# The configuration holds the hash only. -@dangerous takes away FLUSHALL, FLUSHDB, KEYS, CONFIG, DEBUG,
# SHUTDOWN, MODULE, REPLICAOF, SAVE, MONITOR, ACL SETUSER and their like. Of these, monitoring needs
# INFO, the slow log and latency, and only to read. app/caching/ needs EVAL and PUBLISH/SUBSCRIBE (&*) on the cache, which
# this leaves: neither can do more than the user's other commands.
hash=$(printf %s "$password" | sha256sum)
umask 077
printf 'include /etc/scale-out-redis/%s.conf\nuser default on #%s ~* &* +@all -@dangerous %s\n' \
  "$role" "${hash%% *}" '+info +slowlog|get +slowlog|len +latency|latest +latency|histogram' >/tmp/redis.conf

exec redis-server /tmp/redis.conf
