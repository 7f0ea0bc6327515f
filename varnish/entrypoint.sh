#!/bin/bash
# Renders what the configuration needs into /run/edge, becomes Varnish, and follows the load
# balancer's address.
set -euo pipefail

readonly RUN=/run/edge
readonly ORIGIN=load-balancer # of the one that runs: an alias in the network `edge`
readonly LOOK=2               # seconds between two questions for its address

main() {
    memory "${CDN_MEMORY_MB:=64}"
    secret
    backend "$(address)" >"$RUN/backend.vcl"
    follow &
    # Compression is the load balancer's business: variants are kept as they come, brotli too. What
    # the origin says nothing about is not kept, and nothing is shown stale that it does not allow.
    exec varnishd -F -j none -n "$RUN/varnish" -f /etc/varnish/edge.vcl -p "vcl_path=$RUN" \
        -a site=:8080,HTTP -a inside=:8081,HTTP -s "malloc,${CDN_MEMORY_MB}m" -s Transient=malloc,64m \
        -p http_gzip_support=off -p default_ttl=0 -p default_grace=0 -p default_keep=600 \
        -p connect_timeout=0.5 -p first_byte_timeout=5 -p between_bytes_timeout=5 \
        -p thread_pools=2 -p thread_pool_min=30 -p thread_pool_max=150
}

refuse() { # name, value, rule
    echo "cdn: $1=\"$2\": $3" >&2
    exit 64
}

memory() {
    [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] || refuse CDN_MEMORY_MB "$1" "must be a whole number of megabytes from 1 to 99999"
}

secret() {
    local file=${CDN_PURGE_SECRET_FILE:-} secret
    [[ -r $file ]] || refuse CDN_PURGE_SECRET_FILE "$file" "must name the file that holds the secret"
    secret=$(<"$file")
    [[ $secret =~ ^[A-Za-z0-9_=-]{16,}$ ]] ||
        refuse CDN_PURGE_SECRET_FILE "$file" "must hold at least 16 letters, digits, - or _"
    (umask 077 && printf 'sub purge_allowed {\n    if (req.http.Authorization != "Bearer %s") {\n        return (synth(403));\n    }\n}\n' \
        "$secret" >"$RUN/secret.vcl")
}

address() { # of the load balancer, or nothing while there is none
    local found
    found=$(getent ahostsv4 "$ORIGIN") || return 0
    echo "${found%% *}"
}

# The origin, and the same one under another name, which is asked twice a second whether any replica
# answers: at the load balancer's inner port, which looks at no host. Nothing is fetched from that
# one: a false alarm would refuse what could be had.
backend() { # address
    if [[ -z $1 ]]; then
        printf 'backend origin none;\nbackend watched none;\n'
        return
    fi
    printf 'backend origin {\n    .host = "%s";\n    .port = "8080";\n}\n' "$1"
    printf 'backend watched {\n    .host = "%s";\n    .port = "8081";\n    .probe = {\n' "$1"
    printf '        .url = "/live";\n        .interval = 0.5s;\n        .timeout = 1s;\n'
    printf '        .window = 3;\n        .threshold = 2;\n        .initial = 3;\n    }\n}\n'
}

# A name in VCL is looked up once, when it is loaded. So it is loaded anew when the load balancer
# has moved, or was changed for the other one; what is cached stays. Without an address the last one
# is as good as none.
follow() {
    local known found number=0
    known=$(address)
    while sleep "$LOOK"; do
        found=$(address)
        [[ -n $found && $found != "$known" ]] || continue
        backend "$found" >"$RUN/backend.vcl"
        number=$((number + 1))
        if admin vcl.load "v$number" /etc/varnish/edge.vcl && admin vcl.use "v$number"; then
            known=$found
            echo "cdn: the origin is at $found" >&2
        fi
    done
}

admin() { varnishadm -t 30 -n "$RUN/varnish" "$@" >/dev/null; }

main
