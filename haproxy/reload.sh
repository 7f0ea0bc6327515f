#!/bin/bash
# Applies the settings in /etc/lb. If they are invalid it prints one line, and HAProxy keeps the old
# ones.
set -euo pipefail
# shellcheck source=haproxy/render.sh
source /usr/local/lib/render.sh

readonly FAILED=1
readonly SECONDS_TO_STOP=10

main() {
    exec 9>"$RUN/reload.lock"
    flock --timeout 30 9 || fail "another reload has run for 30 s"
    render "$RUN/next"
    check "$RUN/next"
    local old answer
    old=$(worker)
    ask "@1 show servers state" | awk '$5 != "-"' >"$RUN/servers.next"
    mv "$RUN/servers.next" "$RUN/servers.state" # the new worker starts with the old one's state
    rm -rf "$RUN/before"
    mv "$USED" "$RUN/before"
    mv "$RUN/next" "$USED"
    answer=$(ask reload)
    if [[ $answer != Success=1* ]]; then
        rm -rf "$USED"
        mv "$RUN/before" "$USED"
        fail "refused: $(grep -m 1 -F '[ALERT]' <<<"$answer" || echo "the master said ${answer%%$'\n'*}")"
    fi
    until stopping "$old"; do
        ((SECONDS < SECONDS_TO_STOP)) || fail "old worker still accepts connections after $SECONDS s"
        sleep 0.1
    done
}

ask() { # command [seconds]
    socat -t "${2:-20}" - "UNIX-CONNECT:$MASTER" <<<"$1"
}

worker() {
    ask "show proc" | awk '$2 == "worker" { print $1; exit }'
}

# A worker that ends while it is asked never answers, and the master keeps the connection open.
stopping() { # pid
    [[ ! -d /proc/$1 || $(ask "@!$1 show info" 1) == *$'\n'"Stopping: 1"* || ! -d /proc/$1 ]]
}

main
