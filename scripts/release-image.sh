#!/usr/bin/env bash
# Puts the programs of a release into an image for amd64 and arm64, pushes it, and writes its digest into
# deploy/kubernetes/images. Nothing is compiled: the stage `build` of the Dockerfile is replaced by what the archives
# hold, so that image and archives have the same bytes.
#
#   scripts/release-image.sh FOLDER REGISTRY/NAME
#
# Needs Docker with buildx, logged in to the registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

release=${1:?give the folder of the release} image=${2:?give the name of the image}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
docker buildx create --use >/dev/null
images=()
for pair in amd64:x86_64 arm64:aarch64; do
    platform=${pair%:*}
    mkdir -p "$work/$platform/empty/data"
    tar -xzf "$release"/itera-lite-*-"${pair#*:}"-linux.tar.gz -C "$work/$platform" --strip-components 1 --wildcards '*/itera-serve'
    docker buildx build --platform "linux/$platform" --build-context "build=$work/$platform" --provenance=false \
        --output "type=image,name=$image,push-by-digest=true,name-canonical=true,push=true" \
        --metadata-file "$work/$platform.json" .
    images+=("$image@$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$work/$platform.json")")
done
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
docker buildx imagetools create --tag "$image:$version" "${images[@]}"
digest=$(docker buildx imagetools inspect "$image:$version" --format '{{.Manifest.Digest}}')
python3 - "$image" "$digest" <<'PYTHON'
import re
import sys
from pathlib import Path

name, digest = sys.argv[1:]
file = Path("deploy/kubernetes/images/kustomization.yaml")
entry = r"(- name: itera-serve\n    newName: ).*\n(    digest: ).*\n"
text, count = re.subn(entry, rf"\g<1>{name}\n\g<2>{digest}\n", file.read_text())
assert count == 1, "the image is not in " + str(file)
file.write_text(text)
PYTHON
echo "$digest"
