# shellcheck shell=bash
# For other scripts to source: the server that they try, on a free port of loopback.

# find_server [BINARY]: sets `target`, the target directory as an absolute path, and `binary`, which is built
# if none is given.
find_server() {
    target=${CARGO_TARGET_DIR:-target}
    mkdir -p "$target"
    target=$(cd "$target" && pwd)
    binary=${1:-}
    if [[ -z $binary ]]; then
        cargo build --locked --release -p itera-serve
        binary=$target/release/itera-serve
    fi
    binary=$(realpath "$binary")
}

# start_server [OPTION...]: starts `binary` with a new database and sets `url` to where it answers, `work` to a
# temporary folder with its `log`. Both end with the script. Words in the array `wrapper` go before the binary.
start_server() {
    work=$(mktemp -d)
    export work
    [[ " $* " == *" --rate-limit "* ]] || set -- --rate-limit 0 "$@"
    [[ " $* " == *" --database "* ]] || set -- --database "$work/serve.db" "$@"
    touch "$work/log"
    "${wrapper[@]}" "$binary" --port 0 "$@" 2>"$work/log" &
    server=$!
    trap stop_server EXIT
    for _ in $(seq 200); do
        url=$(sed -n 's/.* on \(http:.*\)/\1/p' "$work/log")
        [[ -n $url ]] && return
        sleep 0.1
    done
    cat "$work/log" >&2
    exit 2
}

# stop_server: ends the server and removes its folder.
stop_server() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -rf "$work"
}

wrapper=()
