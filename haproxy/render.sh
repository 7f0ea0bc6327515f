# shellcheck shell=bash
# Functions of entrypoint.sh and reload.sh: read /etc/lb and render the configuration.

readonly FROM=/etc/lb      # settings, tls_certificate and tls_key, as scripts/lb.sh writes them
readonly RUN=/run/lb
# shellcheck disable=SC2034 # for the scripts that read this file
readonly USED=$RUN/used    # the configuration that HAProxy runs with
readonly SLOTS=20          # replicas of one service at most
# shellcheck disable=SC2034
readonly MASTER=$RUN/master.sock

# render DIRECTORY: write all files that HAProxy reads, or fail.
render() {
    into=$1
    rm -rf "$into"
    mkdir "$into"
    local LB_METHOD='' LB_UPSTREAMS='' ALLOWED_HOSTS='' MAX_BODY_BYTES='' TRUSTED_PROXIES='' CLIENT_ADDRESS=''
    local HTTPS_ONLY='' HTTPS_PORT='' MAX_IN_FLIGHT=''
    read_settings
    balance "${LB_METHOD:=least_conn}"
    number MAX_BODY_BYTES "${MAX_BODY_BYTES:=1048576}" "a whole number of bytes"
    number MAX_IN_FLIGHT "${MAX_IN_FLIGHT:=32}" "a whole number of requests"
    servers "${LB_UPSTREAMS:-web=1}"
    hosts "$ALLOWED_HOSTS"
    trusted "$TRUSTED_PROXIES"
    https_only "${HTTPS_ONLY:=0}" "${HTTPS_PORT:=443}"
    client_address "${CLIENT_ADDRESS:=x-forwarded-for}"
    certificate
    printf '    setenv %s %s\n' CHECK_HOSTS "$CHECK_HOSTS" MAX_BODY_BYTES "$MAX_BODY_BYTES" \
        MAX_IN_FLIGHT "$MAX_IN_FLIGHT" CLIENT_ADDRESS "$CLIENT_ADDRESS" HTTPS_ONLY "$HTTPS_ONLY" >"$into/settings"
    sed "/# @settings@/ {
        r $into/settings
        d
    }
    s/@balance@/$BALANCE/
    s/@https_port@/$HTTPS_SUFFIX/
    /# @servers@/ {
        r $into/servers
        d
    }" /etc/haproxy/haproxy.cfg >"$into/haproxy.cfg"
}

fail() { # text
    echo "haproxy: $1" >&2
    exit "${FAILED:-64}"
}

refuse() { # name, value, rule
    fail "$1=\"$2\": $3"
}

read_settings() {
    [[ -r $FROM/settings ]] || fail "$FROM/settings is missing: 'make up' writes it"
    local line
    while IFS= read -r line || [[ -n $line ]]; do
        case ${line%%=*} in
        LB_METHOD | LB_UPSTREAMS | ALLOWED_HOSTS | MAX_BODY_BYTES | MAX_IN_FLIGHT | TRUSTED_PROXIES | CLIENT_ADDRESS | \
            HTTPS_ONLY | HTTPS_PORT) printf -v "${line%%=*}" %s "${line#*=}" ;;
        esac
    done <"$FROM/settings"
}

trim() { # part
    part=${part#"${part%%[![:space:]]*}"}
    part=${part%"${part##*[![:space:]]}"}
}

balance() {
    case $1 in
    round_robin | weighted) BALANCE=roundrobin ;;
    least_conn) BALANCE=leastconn ;;
    ip_hash) BALANCE='hash src,ipmask(32,64)' ;; # a client owns all addresses of an IPv6 network
    *) refuse LB_METHOD "$1" "must be one of round_robin, least_conn, ip_hash, weighted" ;;
    esac
}

number() { # name, value, what
    [[ $2 =~ ^[1-9][0-9]{0,11}$ ]] || refuse "$1" "$2" "must be $3, at least 1"
}

servers() {
    local rule="must be service=weight[,service=weight...], a weight from 1 to 256"
    local part parts service weight seen=,
    IFS=, read -ra parts <<<"$1"
    [[ $1 != *, ]] || refuse LB_UPSTREAMS "$1" "$rule"
    : >"$into/servers"
    for part in "${parts[@]}"; do
        trim
        [[ $part =~ ^([a-z0-9]([a-z0-9_.-]*[a-z0-9])?)=([1-9][0-9]{0,2})$ ]] || refuse LB_UPSTREAMS "$1" "$rule"
        service=${BASH_REMATCH[1]} weight=${BASH_REMATCH[3]}
        ((weight <= 256)) || refuse LB_UPSTREAMS "$1" "$rule"
        [[ $seen != *,"$service",* ]] || refuse LB_UPSTREAMS "$1" "names $service twice"
        seen+=$service,
        [[ $LB_METHOD == weighted ]] || weight=1
        echo "    server-template $service- $SLOTS $service:8000 weight $weight" >>"$into/servers"
    done
}

hosts() {
    local label='[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?' part parts
    CHECK_HOSTS=no
    : >"$into/hosts"
    : >"$into/domains"
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
        echo "${part#.}" >>"$into/hosts"
        [[ $part != .* ]] || echo "$part" >>"$into/domains"
    done
}

# The proxies that may set the client's address: one network a line.
trusted() {
    local rule="must be addresses or networks such as 192.0.2.0/24, separated by commas, and not all addresses"
    local part parts
    : >"$into/trusted"
    IFS=, read -ra parts <<<"$1"
    for part in "${parts[@]}"; do
        trim
        [[ -n $part ]] || continue
        [[ $part =~ ^([0-9.]{7,15}|[0-9a-fA-F:.]{2,45})(/[1-9][0-9]{0,2})?$ ]] || refuse TRUSTED_PROXIES "$1" "$rule"
        echo "$part" >>"$into/trusted"
    done
}

client_address() {
    [[ $1 =~ ^(x-forwarded-for|cf-connecting-ip|proxy-protocol)$ ]] ||
        refuse CLIENT_ADDRESS "$1" "must be one of x-forwarded-for, cf-connecting-ip, proxy-protocol"
}

https_only() {
    [[ $1 =~ ^[01]$ ]] || refuse HTTPS_ONLY "$1" "must be 0 or 1"
    [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || refuse HTTPS_PORT "$2" "must be a port number"
    HTTPS_SUFFIX=
    [[ $2 == 443 ]] || HTTPS_SUFFIX=:$2
}

certificate() {
    local name
    for name in tls_certificate tls_key; do
        [[ -s $FROM/$name ]] || fail "$FROM/$name is missing: 'make up' writes it"
    done
    # An empty line between them: the certificate may lack its last newline.
    (umask 077 && { cat "$FROM/tls_certificate" && echo && cat "$FROM/tls_key"; } >"$into/tls.pem")
}

# check DIRECTORY: fail with HAProxy's first complaint about these files.
check() {
    local said
    said=$(haproxy -c -f "$1/haproxy.cfg" 2>&1) && return
    said=$(grep -m 1 -F '[ALERT]' <<<"$said" || head -n 1 <<<"$said")
    fail "refused: ${said##*] : }"
}
