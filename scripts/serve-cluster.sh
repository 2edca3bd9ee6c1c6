#!/usr/bin/env bash
# What deploy/kubernetes promises, tried without a cluster: PostgreSQL, a server that learns, two that follow, and HAProxy
# in the place of the Service, all on loopback under a bounded load. Feedback to one follower improves all; a rolling
# restart fails no request; the learner is killed while it learns; PostgreSQL is away for 20 seconds; the clock of a server
# is 60 seconds ahead. It takes some two minutes.
#
#   scripts/serve-cluster.sh [BINARY [RESULTS]]
#
# RESULTS is the file for the figures, results/serve-cluster.json in this repository. Needs python3, PostgreSQL's server,
# haproxy and faketime (Debian: apt-get install postgresql haproxy faketime); INSTALL=1 installs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

missing() {
    for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V); do PATH=$bin:$PATH; done
    local command
    for command in python3 initdb haproxy faketime; do command -v "$command" >/dev/null || echo "$command"; done
}
if [[ -n $(missing) && ${INSTALL:-} == 1 ]]; then
    apt-get install -qy --no-install-recommends postgresql haproxy faketime >/dev/null || true
fi
if [[ -n $(missing) ]]; then
    echo "SKIPPED: scripts/serve-cluster.sh needs $(missing | tr '\n' ' ')"
    exit 0
fi
for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V); do PATH=$bin:$PATH; done
find_server "$@"
PYTHONPATH=scripts exec python3 scripts/serve-cluster.py "$binary" "${2:-}"
