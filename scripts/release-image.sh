#!/usr/bin/env bash
# Puts the programs of a release into the images itera-serve, itera-validate and itera-retrain for amd64 and arm64,
# pushes them, and writes their digests into deploy/kubernetes/images. Nothing is compiled: the stage `build` of each
# Dockerfile is replaced by what the archives hold, so that images and archives have the same bytes.
#
#   scripts/release-image.sh FOLDER REGISTRY
#
# Needs Docker with buildx, logged in to the registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

release=${1:?give the folder of the release} registry=${2:?give the registry}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for pair in amd64:x86_64 arm64:aarch64; do
    files=$work/${pair%:*}
    mkdir -p "$files/empty/data" "$files/programs"
    tar -xzf "$release"/itera-lite-*-"${pair#*:}"-linux.tar.gz -C "$files" --strip-components 1 --wildcards \
        '*/itera-serve' '*/itera-validate' '*/itera-train'
    ln "$files"/itera-* "$files/programs/"
done
docker buildx create --use >/dev/null
# image NAME DOCKERFILE: of both platforms.
image() {
    local image=$registry/$1 platform digest images=()
    for platform in amd64 arm64; do
        docker buildx build --platform "linux/$platform" --build-context "build=$work/$platform" --provenance=false \
            --output "type=image,name=$image,push-by-digest=true,name-canonical=true,push=true" \
            --metadata-file "$work/$platform.json" --file "$2" .
        images+=("$image@$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$work/$platform.json")")
    done
    docker buildx imagetools create --tag "$image:$version" "${images[@]}"
    digest=$(docker buildx imagetools inspect "$image:$version" --format '{{.Manifest.Digest}}')
    python3 - "$image" "$digest" <<'PYTHON'
import re
import sys
from pathlib import Path

image, digest = sys.argv[1:]
file = Path("deploy/kubernetes/images/kustomization.yaml")
entry = rf"(- name: {image.rpartition('/')[2]}\n    newName: ).*\n(    digest: ).*\n"
text, count = re.subn(entry, rf"\g<1>{image}\n\g<2>{digest}\n", file.read_text())
assert count == 1, f"{image} is not in {file}"
file.write_text(text)
PYTHON
    echo "$1=$digest"
}
image itera-serve Dockerfile
image itera-validate deploy/Dockerfile.validate
image itera-retrain deploy/Dockerfile.retrain
