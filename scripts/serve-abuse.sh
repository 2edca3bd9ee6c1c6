#!/usr/bin/env bash
# Tries on a server of its own, on loopback, what a client without a key might do to others, and what must not work;
# bounded in number and time, within a minute. Then the server runs as docker-compose.yml runs it: no file but the
# database can be written, and for a while not that either.
#
#   scripts/serve-abuse.sh [BINARY]
#
# Needs python3; for the last part prlimit (util-linux) and leave to unshare a mount namespace.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
TOKEN=0123456789abcdef0123456789abcdef
start_server --rate-limit 600 --max-connections 256 --token "$TOKEN" --trusted-proxy 127.0.0.0/8 --timeout-seconds 20
URL=$url SERVER=$server TOKEN=$TOKEN python3 scripts/serve-abuse.py clients
stop_server

start_server --queue 16 --slots 8 --workers 1
URL=$url SERVER=$server python3 scripts/serve-abuse.py open
stop_server

start_server --database none
URL=$url SERVER=$server python3 scripts/serve-abuse.py none
stop_server

# Files of more than 600 kB cannot be written, until they can; neither can /tmp and /var/tmp, where SQLite would
# put its temporary files.
if ! command -v prlimit >/dev/null; then
    echo "SKIPPED: the disk that is full; prlimit is missing"
elif ! unshare -m true 2>/dev/null; then
    echo "SKIPPED: the container; a mount namespace cannot be had here"
else
    # shellcheck disable=SC2016 # The inner shell expands it.
    wrapper=(unshare -m sh -c '
        for folder in /tmp /var/tmp; do
            mount --bind "$folder" "$folder" && mount -o remount,bind,ro "$folder"
        done
        mount --bind "$work" "$work" && mount -o remount,bind,rw "$work"
        cd /proc
        trap "" XFSZ
        ulimit -S -f 1200
        exec "$@"' confined)
    start_server --queue 4096
    URL=$url SERVER=$server python3 scripts/serve-abuse.py disk
fi
echo "the server held"
