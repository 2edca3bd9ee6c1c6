#!/usr/bin/env bash
# What container platforms ask of an image, tried on the program in the files of the image: a root that is read-only,
# user 65532, no HOME, nothing of the environment but what the Dockerfile says, PORT, 512 MB; at SIGTERM it has ended
# within 10 seconds, with status 0, although a client is still being written to.
#
#   scripts/serve-contract.sh [BINARY]
#
# Needs root, for namespaces of its own, curl and python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
if ((EUID)) || ! unshare --mount true 2>/dev/null; then
    echo "SKIPPED: scripts/serve-contract.sh needs root and mount namespaces"
    exit 0
fi

work=$(mktemp -d)
root=$work/root
mkdir -p "$root"/{models,data,proc}
cp "$binary" "$root/itera-serve"
cp data/models/micro-tinystories{,.int8,.int4}.safetensors "$root/models/"
# A program that is not static brings its libraries, which the image has no need of.
ldd "$binary" 2>/dev/null | grep -o '/[^ ]*' | xargs -r -I{} cp -L --parents {} "$root" || true
chmod -R a+rX "$work"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
token=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
# The environment of the image, but for the address, which stays on loopback.
mapfile -t environment < <(sed -n '/^ENV /,/[^\\]$/p' Dockerfile | grep -o 'ITERA_[A-Z_]*=[^ ]*' | grep -v ITERA_HOST)
environment+=("ITERA_HOST=127.0.0.1" "ITERA_TOKEN=$token" "PORT=$port")
environment+=('ITERA_ADAPT_SETTINGS={"steps":2,"batch":2,"length":32}')
CHROOT=$(command -v chroot)
export CHROOT ROOT=$root
unshare --mount bash -ec '
    mount --make-rprivate /
    mount --bind "$ROOT" "$ROOT"
    mount -t proc proc "$ROOT/proc"
    mount -t tmpfs -o size=64m,uid=65532,gid=65532,mode=700 tmpfs "$ROOT/data"
    mount -o remount,bind,ro "$ROOT"
    ulimit -d 524288
    exec env -i "$@" "$CHROOT" --userspec=65532:65532 "$ROOT" /itera-serve
' contract "${environment[@]}" 2>"$work/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
url=http://127.0.0.1:$port
for _ in $(seq 300); do
    curl -sf "$url/ready" >/dev/null && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
fail() { echo "FAILED: $*"; cat "$work/log"; exit 1; }
curl -sf "$url/ready" >/dev/null || fail "it does not answer at PORT"
status() { grep "^$1:" "/proc/$server/status" | awk '{print $2}'; }
[[ $(status Uid) == 65532 ]] || fail "it does not run as 65532"

send() { curl -sf "$url$1" -H 'Content-Type: application/json' -H "Authorization: Bearer $token" -d "$2"; }
for _ in $(seq 40); do
    id=$(send /infer '{"input_text": "Once upon a time", "max_length": 64}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["feedback_id"])')
done
send /feedback "{\"feedback_id\": \"$id\", \"correction\": \" there was a dog.\"}" >/dev/null || fail "feedback is not stored"
send /adapt '{}' | grep -q '"status":"\(accepted\|rejected\)"' || fail "it does not learn"
peak=$(status VmHWM)

# A client that is in the middle of an answer when the word comes, and gets all of it.
send /v1/completions '{"prompt": "Once", "max_tokens": 512, "n": 16, "ignore_eos": true}' >"$work/answer" &
client=$!
until curl -s "$url/metrics" | grep -q '^itera_slots_used [1-9]'; do
    kill -0 "$client" 2>/dev/null || fail "the answer was there too soon"
done
began=$(date +%s%N)
kill -TERM "$server"
ended=0
wait "$server" || ended=$?
took=$((($(date +%s%N) - began) / 1000000))
wait "$client" || fail "the answer was cut off"
((ended == 0)) || fail "it ended with status $ended"
((took < 10000)) || fail "it took $took ms to end"
echo "read-only root, user 65532, no HOME, PORT: it answers, stores and learns with $((peak / 1024)) MB at most, and ends $took ms after SIGTERM"
