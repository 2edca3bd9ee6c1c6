#!/usr/bin/env bash
# Runs the tests of the store, and two servers of one database, on a real PostgreSQL that it starts on
# loopback in a temporary folder and stops again. It takes connections by TLS only, with a certificate that signs
# itself and that the tests know.
#
# Needs PostgreSQL's server and openssl (Debian: apt-get install postgresql openssl). Arguments go to cargo test, for
# example --no-default-features.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for bin in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V); do PATH=$bin:$PATH; done
command -v initdb >/dev/null || {
    echo "PostgreSQL's server is missing; install it (Debian: apt-get install postgresql)" >&2
    exit 2
}
work=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
# PostgreSQL does not run as root.
as() { if ((EUID)); then "$@"; else runuser -u nobody -- env PATH="$PATH" "$@"; fi; }
((EUID)) || chown nobody "$work"
trap 'as pg_ctl -D "$work/data" -m immediate -s stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
as initdb -D "$work/data" -U itera -A trust --no-sync >/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
chmod 600 "$work/key.pem"
((EUID)) || chown nobody "$work/key.pem" "$work/certificate.pem"
echo 'hostssl all itera 127.0.0.1/32 trust' | as tee "$work/data/pg_hba.conf" >/dev/null
as pg_ctl -D "$work/data" -s -w -l "$work/log" \
    -o "-p $port -k $work -c listen_addresses=127.0.0.1 -c max_connections=200 \
    -c ssl=on -c ssl_cert_file=$work/certificate.pem -c ssl_key_file=$work/key.pem" start
as createdb -h 127.0.0.1 -p "$port" -U itera itera
chmod 755 "$work"
export ITERA_TEST_POSTGRES="postgres://itera@127.0.0.1:$port/itera?sslmode=verify-full&sslrootcert=$work/certificate.pem"
cargo test --locked -p itera-serve --features pg-tls "$@" -- store:: postgres
