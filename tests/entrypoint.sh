#!/usr/bin/env bash
# Run the command as the user who called scripts/tools.sh (TOOLS_UID, TOOLS_GID), in the group that
# may use the engine's socket, so that no file in the work tree is left to root.
set -euo pipefail

uid=${TOOLS_UID:-0} gid=${TOOLS_GID:-0}
if [[ $uid == 0 ]]; then exec "$@"; fi

if [[ -S /var/run/docker.sock ]]; then groups=$gid,$(stat -c %g /var/run/docker.sock); else groups=$gid; fi
# initdb and git need a name for the user.
getent group "$gid" >/dev/null || groupadd --gid "$gid" caller
getent passwd "$uid" >/dev/null || useradd --no-log-init --uid "$uid" --gid "$gid" --home-dir /tmp caller
exec setpriv --reuid "$uid" --regid "$gid" --groups "$groups" "$@"
