#!/bin/bash
# Renders the configuration from /etc/lb and becomes HAProxy's master process.
set -euo pipefail
# shellcheck source=haproxy/render.sh
source /usr/local/lib/render.sh

# An interrupted reload may have left files.
rm -rf "${RUN:?}"/*
render "$USED"
: >"$RUN/servers.state"
exec haproxy -W -db -S "$MASTER" -f "$USED/haproxy.cfg"
