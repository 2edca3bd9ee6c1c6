#!/usr/bin/env bash
# Runs every shell command of README.md and docs/ in a copy of the checkout, with the programs that
# `cargo test --workspace` has built.
#
#   scripts/check-docs.sh [FILE.md...]    only these pages
#   DOCS_BIN                              folder of the programs [default: they are built]
#
# The copy has no data sets, so tools read the samples. A fenced block is run as one script. One that cannot be run
# here says why in its info string, as in
# ```sh skip="needs an NVIDIA card"; it is listed as SKIPPED. So is a block of another language.
# `cargo run --release -p TOOL -- ...` and an installed `TOOL ...` run the program that is there, and other cargo
# commands are listed as SKIPPED: the continuous integration runs them by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pages=("$@")
((${#pages[@]})) || pages=(README.md docs/*.md)

if [[ -z ${DOCS_BIN:-} ]]; then
    cargo build --quiet --locked --workspace --bins --features itera-validate/burn,itera-export/burn
    DOCS_BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
fi
export DOCS_BIN PATH=$DOCS_BIN:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files -z | while IFS= read -r -d '' file; do
    [[ ! -f $file ]] || printf '%s\0' "$file"
done | xargs -0 cp --parents -t "$work"
git -C "$work" init --quiet
mkdir -p "$work/runs"

# What blocks call in place of cargo.
cat > "$work/.docs-cargo" <<'CARGO'
cargo() {
    if [[ $1 == run && " $* " == *" -p "* ]]; then
        shift
        local tool=
        while (($#)) && [[ $1 != -- ]]; do
            [[ $1 == -p ]] && tool=$2
            shift
        done
        (($#)) && shift
        "$DOCS_BIN/$tool" "$@"
    else
        echo "SKIPPED: cargo $*: run by the continuous integration itself" >&2
    fi
}
CARGO

failed=0 run=0 skipped=0

# block PAGE LINE INFO FILE: runs the block in FILE, or says why not.
block() {
    local page=$1 line=$2 info=$3 file=$4
    if [[ $info =~ skip=\"([^\"]*)\" ]]; then
        echo "SKIPPED $page:$line: ${BASH_REMATCH[1]}"
        skipped=$((skipped + 1))
    elif [[ $info != sh ]]; then
        # Text and tables in a fence are no commands.
        [[ -z $info || $info == text ]] || { echo "SKIPPED $page:$line: $info"; skipped=$((skipped + 1)); }
    else
        local began=$SECONDS
        if (cd "$work" && unset CARGO_TARGET_DIR ITERA_DATA_DIR && bash -euo pipefail -c 'source .docs-cargo; source "$1"' docs "$file") \
            > "$work/.docs-log" 2>&1; then
            echo "ok      $page:$line ($((SECONDS - began)) s)"
        else
            echo "FAILED  $page:$line"
            sed 's/^/    /' "$work/.docs-log" | tail -20
            failed=$((failed + 1))
        fi
        run=$((run + 1))
    fi
}

for page in "${pages[@]}"; do
    number=0 start=0 info=
    body=$work/.docs-block
    while IFS= read -r text || [[ -n $text ]]; do
        number=$((number + 1))
        if ((start == 0)) && [[ $text =~ ^\ *\`\`\`(.*)$ ]]; then
            start=$number info=${BASH_REMATCH[1]}
            : > "$body"
        elif ((start)) && [[ $text =~ ^\ *\`\`\`$ ]]; then
            block "$page" "$start" "$info" "$body" < /dev/null
            start=0
        elif ((start)); then
            printf '%s\n' "$text" >> "$body"
        fi
    done < "$page"
done

echo "$run blocks run, $failed failed, $skipped skipped, in $SECONDS s"
((failed == 0))
