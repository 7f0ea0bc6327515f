#!/bin/bash
# Checks the environment, renders the configuration into /run/lb and becomes HAProxy.
set -euo pipefail

readonly SLOTS=20             # replicas of one service that can be followed
readonly MOST_BODY=8388608    # HAProxy holds a body in one buffer
readonly HEADER_BYTES=49152   # room for the header in the same buffer
readonly RUN=/run/lb

main() {
    balance "${LB_METHOD:=least_conn}"
    body_bytes "${MAX_BODY_BYTES:=1048576}"
    servers "${LB_UPSTREAMS:-web=1}"
    hosts "${ALLOWED_HOSTS:-}"
    certificate
    # Buffers of this size stay in the heap when they are freed, rather than go back to the kernel each time.
    export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=67108864
    export BALANCE BUFFER_BYTES HOT_BYTES CHECK_HOSTS MAX_BODY_BYTES
    sed "/# @servers@/ {
        r $RUN/servers
        d
    }" /etc/haproxy/haproxy.cfg >"$RUN/haproxy.cfg"
    exec haproxy -db -f "$RUN/haproxy.cfg"
}

refuse() { # name, value, rule
    echo "haproxy: $1=\"$2\": $3" >&2
    exit 64
}

trim() { # part
    part=${part#"${part%%[![:space:]]*}"}
    part=${part%"${part##*[![:space:]]}"}
}

balance() {
    case $1 in
    round_robin | weighted) BALANCE=roundrobin ;;
    least_conn) BALANCE=leastconn ;;
    ip_hash) BALANCE=source ;;
    *) refuse LB_METHOD "$1" "must be one of round_robin, least_conn, ip_hash, weighted" ;;
    esac
}

body_bytes() {
    [[ $1 =~ ^[1-9][0-9]{0,7}$ && $1 -le $MOST_BODY ]] ||
        refuse MAX_BODY_BYTES "$1" "must be a whole number of bytes from 1 to $MOST_BODY; nginx takes more"
    BUFFER_BYTES=$(($1 + HEADER_BYTES))
    HOT_BYTES=$((BUFFER_BYTES * 16))
}

servers() {
    local rule="must be service=weight[,service=weight...], a weight from 1 to 256"
    local part parts service weight seen=,
    IFS=, read -ra parts <<<"$1"
    [[ $1 != *, ]] || refuse LB_UPSTREAMS "$1" "$rule"
    : >"$RUN/servers"
    for part in "${parts[@]}"; do
        trim
        [[ $part =~ ^([a-z0-9]([a-z0-9_.-]*[a-z0-9])?)=([1-9][0-9]{0,2})$ ]] || refuse LB_UPSTREAMS "$1" "$rule"
        service=${BASH_REMATCH[1]} weight=${BASH_REMATCH[3]}
        ((weight <= 256)) || refuse LB_UPSTREAMS "$1" "$rule"
        [[ $seen != *,"$service",* ]] || refuse LB_UPSTREAMS "$1" "names $service twice"
        seen+=$service,
        [[ $LB_METHOD == weighted ]] || weight=1
        echo "    server-template $service- $SLOTS $service:8000 weight $weight" >>"$RUN/servers"
    done
}

hosts() {
    local label='[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?' part parts
    CHECK_HOSTS=no
    : >"$RUN/hosts"
    : >"$RUN/domains"
    IFS=, read -ra parts <<<"${1,,}"
    for part in "${parts[@]}"; do
        trim
        [[ -n $part ]] || continue
        if [[ $part == "*" ]]; then
            CHECK_HOSTS=no
            return
        fi
        [[ $part =~ ^(\.?$label(\.$label)*|\[[0-9a-f:.]+\])$ ]] ||
            refuse ALLOWED_HOSTS "$1" "must be a comma-separated list of host names, .domains or *"
        CHECK_HOSTS=yes
        echo "${part#.}" >>"$RUN/hosts"
        [[ $part != .* ]] || echo "$part" >>"$RUN/domains"
    done
}

certificate() {
    (umask 077 && cat /run/secrets/tls_certificate /run/secrets/tls_key >"$RUN/tls.pem")
}

main
