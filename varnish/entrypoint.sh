#!/bin/bash
# Renders the included files into /run/edge, starts Varnish, and follows the load balancer's
# address.
set -euo pipefail

readonly RUN=/run/edge
readonly ORIGIN=load-balancer # alias of the running load balancer in the network `edge`
readonly LOOK=2               # seconds between two lookups of its address

main() {
    memory "${CDN_MEMORY_MB:=64}"
    secret
    backend "$(address)" >"$RUN/backend.vcl"
    follow &
    # The load balancer compresses: Varnish stores each variant as it is, also brotli. Without the
    # origin's permission Varnish neither caches an answer nor serves it stale.
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
    [[ -r $file ]] || refuse CDN_PURGE_SECRET_FILE "$file" "must name a readable file with the secret"
    secret=$(<"$file")
    [[ $secret =~ ^[A-Za-z0-9_=-]{16,}$ ]] ||
        refuse CDN_PURGE_SECRET_FILE "$file" "must hold at least 16 letters, digits, - or _"
    (umask 077 && printf 'sub purge_allowed {\n    if (req.http.Authorization != "Bearer %s") {\n        return (synth(403));\n    }\n}\n' \
        "$secret" >"$RUN/secret.vcl")
}

address() { # of the load balancer; empty while none runs
    local found
    found=$(getent ahostsv4 "$ORIGIN") || return 0
    echo "${found%% *}"
}

# The origin, and a second backend `watched` for the same address. Its probe asks the load
# balancer's internal port twice a second. No request goes to `watched`, so a false alarm rejects
# none.
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

# Varnish resolves a name once, when it loads the VCL. So this loads the VCL again after the load
# balancer's address has changed; the cache stays. Without an address the last one stays in use.
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
            echo "cdn: origin changed to $found" >&2
        fi
    done
}

admin() { varnishadm -t 30 -n "$RUN/varnish" "$@" >/dev/null; }

main
