#!/usr/bin/env bash
# Runs the tests of the store, and two servers of one database, on a real PostgreSQL that it starts on
# loopback in a temporary folder and stops again. It takes connections by TLS only, with a certificate that signs
# itself and that the tests know. A dump of one is restored. Then the database stops for 20 s, and a table of it is locked,
# under a server.
#
#   scripts/serve-postgres.sh [ARGUMENT OF cargo test...]
#
# Needs PostgreSQL's server and openssl (Debian: apt-get install postgresql openssl), and python3. Without arguments
# the package is tested alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V); do PATH=$bin:$PATH; done
command -v initdb >/dev/null || {
    echo "PostgreSQL's server is missing; install it (Debian: apt-get install postgresql)" >&2
    exit 2
}
(($#)) || set -- -p itera-serve --features pg-tls
source scripts/serving.sh
cluster=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
# PostgreSQL does not run as root.
as() { if ((EUID)); then "$@"; else runuser -u nobody -- env PATH="$PATH" "$@"; fi; }
((EUID)) || chown nobody "$cluster"
end() {
    as pg_ctl -D "$cluster/data" -m immediate -s stop >/dev/null 2>&1 || true
    rm -rf "$cluster"
}
trap end EXIT
as initdb -D "$cluster/data" -U itera -A trust --no-sync >/dev/null
# No authority's: rustls takes such a one for a server only if it is not marked as one.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
    -addext basicConstraints=critical,CA:FALSE -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n') \
    -keyout "$cluster/key.pem" -out "$cluster/certificate.pem" 2>/dev/null
chmod 600 "$cluster/key.pem"
((EUID)) || chown nobody "$cluster/key.pem" "$cluster/certificate.pem"
echo 'hostssl all itera 127.0.0.1/32 trust' | as tee "$cluster/data/pg_hba.conf" >/dev/null
as pg_ctl -D "$cluster/data" -s -w -l "$cluster/log" \
    -o "-p $port -k $cluster -c listen_addresses=127.0.0.1 -c max_connections=200 \
    -c ssl=on -c ssl_cert_file=$cluster/certificate.pem -c ssl_key_file=$cluster/key.pem" start
as createdb -h 127.0.0.1 -p "$port" -U itera itera
chmod 755 "$cluster"
export ITERA_TEST_POSTGRES="postgres://itera@127.0.0.1:$port/itera?sslmode=verify-full&sslrootcert=$cluster/certificate.pem"
cargo test --locked --lib "$@" -- store::
# Each with a database of its own: what one leaves is not what the next begins with.
for test in serve_what_one_has_learnt serve_a_canary; do
    name=itera_$test
    as createdb -h 127.0.0.1 -p "$port" -U itera "$name"
    ITERA_TEST_POSTGRES=${ITERA_TEST_POSTGRES/\/itera\?//$name?} \
        cargo test --locked --test socket "$@" -- "two_servers_of_one_postgres_$test"
done

find_server "${CARGO_TARGET_DIR:-target}/debug/itera-serve"

# A database that others use too: in a schema of its own the server leaves tables of the same names as they are.
as createdb -h 127.0.0.1 -p "$port" -U itera shared
ask() { psql -qtA -h 127.0.0.1 -p "$port" -U itera shared -c "$1"; }
ask "CREATE TABLE settings (theirs int); CREATE TABLE versions (theirs int); CREATE SCHEMA itera"
start_server --database "${ITERA_TEST_POSTGRES/\/itera\?//shared?}&options=-c%20search_path%3Ditera"
trap 'stop_server; end' EXIT
curl -sf "$url/adapt/status" >/dev/null
stop_server
trap end EXIT
[[ $(ask "SELECT string_agg(column_name, ' ') FROM information_schema.columns WHERE table_schema = 'public'") == "theirs theirs" ]]
[[ $(ask "SELECT count(*) > 0 FROM itera.settings") == t ]]

# A dump that is restored is the database, as docs/serving.md says how to.
as createdb -h 127.0.0.1 -p "$port" -U itera restored
pg_dump --format custom --file "$cluster/dump" "postgres://itera@127.0.0.1:$port/itera_serve_what_one_has_learnt"
pg_restore --exit-on-error --no-owner --dbname "postgres://itera@127.0.0.1:$port/restored" "$cluster/dump"
original=${ITERA_TEST_POSTGRES/\/itera\?//itera_serve_what_one_has_learnt?}
restored=${ITERA_TEST_POSTGRES/\/itera\?//restored?}
for what in "feedback export" "versions list"; do
    # Words of a command.
    # shellcheck disable=SC2086
    expected=$("$binary" $what --database "$original") found=$("$binary" $what --database "$restored")
    if [[ -z $expected || $found != "$expected" ]]; then
        echo "FAILED: $what of the restored database is not that of the dumped one"
        exit 1
    fi
done
start_server --database "$restored"
stop_server
trap end EXIT

start_server --database "$ITERA_TEST_POSTGRES"
trap 'stop_server; end' EXIT
POSTGRES=$(head -1 "$cluster/data/postmaster.pid")
PSQL="psql -q -h 127.0.0.1 -p $port -U itera itera"
export POSTGRES PSQL URL=$url SERVER=$server
python3 scripts/serve-abuse.py stopped
