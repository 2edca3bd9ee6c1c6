#!/usr/bin/env bash
# Fetches the official WikiText-2 and TinyStories files and proves that they are the official ones.
# `scripts/fetch-data.sh --help` says how.
#
# Every file has a pin: a digest, or its size where no digest is published. A download goes to
# FILE.part (resumed if one is there), is checked against its pin, and only then gets its name, so
# that a file with its final name is always a checked one.
set -euo pipefail

readonly EXIT_CHECK=1 EXIT_CANNOT_RUN=2

usage() {
    cat <<'TEXT'
Fetch the official WikiText-2 and TinyStories files into the data folder, checked.

usage: scripts/fetch-data.sh [--only wikitext2|tinystories|tinystories-head] [--small] [--raw] [--help]

  --only NAME  one data set only
  --small      leave out the train split of TinyStories (1.9 GB)
  --raw        also fetch the raw form of WikiText-2, into wikitext-2/raw/; it is another text
               and its figures do not compare with those of v1
  --help       this text

Files go to $ITERA_DATA_DIR, or to data/ of this repository:
  wikitext-2/{test,valid,train}.txt    tinystories/{official-head,valid,train}.txt
tinystories-head, the text that the scores of this project are about, is rows 0 to 218 of the official
validation split, from its Parquet file on the hub; that needs python3 with pyarrow.
Files that are there and pass their check are left alone; interrupted downloads are resumed.

environment:
  ITERA_DATA_DIR        the data folder
  ITERA_FETCH_BASE_URL  where to fetch from instead of the known mirrors; the names of the official
                        files are appended (wikitext-2-v1.zip, TinyStories-valid.txt, ...)
  ITERA_FETCH_PINS      a file of `name kind value` lines that replaces the built-in pins; kind is
                        sha256, sha1 or bytes

exit status: 0 every file is there and checked, 1 a file fails its check, 2 could not run
TEXT
}

# Path in the data folder, kind, value. TinyStories publishes no digests of its text files: their
# size is checked, and the digest seen first is kept beside the file and checked from then on.
pins() {
    if [[ -n ${ITERA_FETCH_PINS:-} ]]; then
        cat -- "$ITERA_FETCH_PINS"
        return
    fi
    cat <<'TABLE'
wikitext-2/wikitext-2-v1.zip sha256 92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c
wikitext-2/test.txt sha256 d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0
wikitext-2/valid.txt sha256 f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8
wikitext-2/train.txt sha1 863f29c46ef9d167fff4940ec821195882fe29d1
wikitext-2/wikitext-2-raw-v1.zip sha256 ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11
wikitext-2/raw/test.txt sha256 173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08
wikitext-2/raw/valid.txt sha1 db78d4db83700cba1b1bf4a9381087043db2876d
wikitext-2/raw/train.txt sha1 d33faf256327882db0edc7c67cd098d1051a2112
tinystories/validation.parquet bytes 9989127
tinystories/official-head.txt sha256 805df41e8dd6acdb73715cd4f677e6cf36cf7eb3700ef2492ef9eba47532e402
tinystories/valid.txt bytes 19447282
tinystories/train.txt bytes 1924281556
TABLE
}

# The addresses of an official file, best first. The s3.amazonaws.com address that older papers and
# tools name for WikiText has been dead since 2024.
mirrors() {
    local file=$1
    if [[ -n ${ITERA_FETCH_BASE_URL:-} ]]; then
        printf '%s\n' "${ITERA_FETCH_BASE_URL%/}/$file"
        return
    fi
    local hub=https://huggingface.co/datasets
    local ggml=$hub/ggml-org/ci/resolve
    local stories=$hub/roneneldan/TinyStories/resolve
    case $file in
        wikitext-2-v1.zip)
            echo "https://wikitext.smerity.com/$file" ;;
        wikitext-2-raw-v1.zip)
            echo "https://wikitext.smerity.com/$file"
            echo "$ggml/927b3642933080f1b0e811e2f916e14c292992f9/$file"
            echo "$ggml/main/$file" ;;
        TinyStories-*.txt | data/*.parquet)
            echo "$stories/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/$file"
            echo "$stories/main/$file" ;;
    esac
}

say() { printf '%s\n' "$*" >&2; }

die() {
    local status=$1
    shift
    say "fetch-data: $*"
    exit "$status"
}

digest() {
    local bits=$1 file=$2
    if command -v "sha${bits}sum" >/dev/null; then
        "sha${bits}sum" <"$file" | cut -d' ' -f1
    else
        shasum -a "$bits" <"$file" | cut -d' ' -f1
    fi
}

measure() {
    local kind=$1 file=$2
    case $kind in
        sha256) digest 256 "$file" ;;
        sha1) digest 1 "$file" ;;
        bytes) wc -c <"$file" | tr -d ' ' ;;
        *) die $EXIT_CANNOT_RUN "unknown kind of pin \`$kind\`; expected sha256, sha1 or bytes" ;;
    esac
}

# passes NAME FILE: whether FILE is what the pin of NAME says; tells what differs.
passes() {
    local name=$1 file=$2 kind value found
    read -r kind value < <(pins | awk -v name="$name" '$1 == name { print $2, $3 }') ||
        die $EXIT_CANNOT_RUN "no pin for $name;" \
            "add a line to ${ITERA_FETCH_PINS:-the table in this script}"
    found=$(measure "$kind" "$file") || exit $?
    if [[ $found != "$value" ]]; then
        say "$file: $kind is $found, expected $value"
        return 1
    fi
}

# Whether FILE still has the digest that was seen when it was fetched, if one was kept.
still_the_first() {
    local file=$1 first found
    [[ -f $file.sha256 ]] || return 0
    first=$(cut -d' ' -f1 <"$file.sha256")
    found=$(digest 256 "$file")
    if [[ $found != "$first" ]]; then
        say "$file: sha256 is $found, but was $first when it was fetched"
        return 1
    fi
}

# Whether NAME is in the data folder and checked. A file that fails belongs to the user: it is not
# overwritten.
have() {
    local name=$1 file=$DATA/$1
    [[ -e $file ]] || return 1
    if passes "$name" "$file" && still_the_first "$file"; then
        say "$file: already there, checked"
        return 0
    fi
    die $EXIT_CHECK "$file is not the official file and is left as it is;" \
        "move it away and run again to fetch the official one"
}

# download OFFICIAL NAME: fetches the file OFFICIAL from the first mirror that has it, checks it
# against the pin of NAME and puts it at NAME in the data folder.
download() {
    local official=$1 name=$2 target=$DATA/$2 url
    command -v curl >/dev/null || die $EXIT_CANNOT_RUN "curl is missing; install it and run again"
    mkdir -p "$(dirname "$target")"
    SAW_BAD=no
    while read -r url; do
        if fetch_from "$url" "$name" "$target.part"; then
            mv -- "$target.part" "$target"
            return 0
        fi
    done < <(mirrors "$official")
    if [[ $SAW_BAD == yes ]]; then
        die $EXIT_CHECK "no mirror gave the official $official; what came is kept as" \
            "$target.part.bad; try later, or name a mirror with ITERA_FETCH_BASE_URL"
    fi
    die $EXIT_CANNOT_RUN "no mirror gave $official; check the network and run again to resume," \
        "or name a mirror with ITERA_FETCH_BASE_URL"
}

# fetch_from URL NAME PART: makes PART the whole file, continuing where PART ends. Bytes that turn
# out not to be the beginning of this file are set aside, and the file is fetched from its first
# byte.
fetch_from() {
    local url=$1 name=$2 part=$3 status=0 start=0 code
    if [[ -s $part ]]; then
        start=$(measure bytes "$part")
        say "continuing $url at byte $start"
    else
        say "fetching $url"
    fi
    code=$(curl --fail --location --silent --show-error --retry 3 --connect-timeout 30 \
        --continue-at - --output "$part" --write-out '%{http_code}' "$url") || status=$?
    if ((status == 0)); then
        passes "$name" "$part" && return 0
        SAW_BAD=yes
    elif [[ $code != 416 ]] && ((status != 33)); then
        return 1 # The network or the server failed; what has come is kept.
    elif passes "$name" "$part"; then
        return 0 # Nothing was left to fetch.
    fi
    mv -f -- "$part" "$part.bad"
    say "$part.bad: set aside"
    ((start > 0)) && fetch_from "$url" "$name" "$part"
}

# unpack ZIP MEMBER: the member's bytes on stdout.
unpack() {
    if command -v unzip >/dev/null; then
        unzip -p "$1" "$2"
    elif command -v python3 >/dev/null; then
        python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as member:
    shutil.copyfileobj(member, sys.stdout.buffer)' "$1" "$2"
    else
        die $EXIT_CANNOT_RUN "neither unzip nor python3 is there; install one and run again"
    fi
}

# wikitext FORM FOLDER SUFFIX: the three splits of one form (wikitext-2 or wikitext-2-raw).
wikitext() {
    local form=$1 folder=$2 suffix=$3 missing=() split file
    for split in test valid train; do
        have "$folder/$split.txt" || missing+=("$split")
    done
    ((${#missing[@]})) || return 0
    local zip=$form-v1.zip
    download "$zip" "wikitext-2/$zip"
    for split in "${missing[@]}"; do
        file=$DATA/$folder/$split.txt
        mkdir -p "$DATA/$folder"
        unpack "$DATA/wikitext-2/$zip" "$form/wiki.$split.$suffix" >"$file.part" ||
            die $EXIT_CANNOT_RUN "could not unpack wiki.$split.$suffix from $DATA/wikitext-2/$zip"
        if ! passes "$folder/$split.txt" "$file.part"; then
            mv -f -- "$file.part" "$file.part.bad"
            die $EXIT_CHECK "wiki.$split.$suffix in $zip is not the official file;" \
                "kept as $file.part.bad"
        fi
        mv -- "$file.part" "$file"
        say "$file: fetched, checked"
    done
    rm -f -- "$DATA/wikitext-2/$zip"
}

# Stories of tinystories-head: the first rows of the Parquet file.
readonly HEAD_ROWS=219
readonly PARQUET=data/validation-00000-of-00001-869c898b519ad725.parquet

# tinystories-head: rows of the validation split, white space around each stripped, as stories between
# separator lines.
tinystories_head() {
    local name=tinystories/official-head.txt parquet=$DATA/tinystories/validation.parquet
    local file=$DATA/$name
    have "$name" && return 0
    python3 -c 'import pyarrow.parquet' 2>/dev/null ||
        die $EXIT_CANNOT_RUN "tinystories-head comes as a Parquet file, which needs python3 with pyarrow;" \
            "run \`pip install pyarrow\`, then this again"
    download "$PARQUET" tinystories/validation.parquet
    python3 -c 'import itertools, sys
import pyarrow.parquet
batches = pyarrow.parquet.ParquetFile(sys.argv[1]).iter_batches(columns=["text"])
rows = (row for batch in batches for row in batch.column(0).to_pylist())
for row in itertools.islice(rows, int(sys.argv[2])):
    sys.stdout.buffer.write(row.strip().encode() + b"\n<|endoftext|>\n")' \
        "$parquet" "$HEAD_ROWS" >"$file.part" ||
        die $EXIT_CANNOT_RUN "could not read $parquet"
    if ! passes "$name" "$file.part"; then
        mv -f -- "$file.part" "$file.part.bad"
        die $EXIT_CHECK "rows 0 to $((HEAD_ROWS - 1)) of $parquet are not tinystories-head;" \
            "kept as $file.part.bad"
    fi
    mv -- "$file.part" "$file"
    rm -f -- "$parquet"
    say "$file: fetched, checked"
}

# One split of TinyStories. Its digest is kept, because none is published.
tinystories() {
    local split=$1 file=$DATA/tinystories/$1.txt
    have "tinystories/$split.txt" && return 0
    download "TinyStories-$split.txt" "tinystories/$split.txt"
    printf '%s  %s\n' "$(digest 256 "$file")" "$split.txt" >"$file.sha256"
    say "$file: fetched, checked; sha256 $(cut -d' ' -f1 <"$file.sha256")"
}

main() {
    local only=all small=no raw=no
    while (($#)); do
        case $1 in
            --only)
                only=${2:-}
                [[ $only == wikitext2 || $only == tinystories || $only == tinystories-head ]] ||
                    die $EXIT_CANNOT_RUN "--only takes wikitext2, tinystories or tinystories-head," \
                        "not \`$only\`"
                shift ;;
            --small) small=yes ;;
            --raw) raw=yes ;;
            -h | --help) usage && exit 0 ;;
            *) die $EXIT_CANNOT_RUN "unknown argument \`$1\`; --help lists the arguments" ;;
        esac
        shift
    done
    DATA=${ITERA_DATA_DIR:-$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)/data}
    if [[ $only == all || $only == wikitext2 ]]; then
        wikitext wikitext-2 wikitext-2 tokens
        if [[ $raw == yes ]]; then wikitext wikitext-2-raw wikitext-2/raw raw; fi
    fi
    if [[ $only == all || $only == tinystories ]]; then
        tinystories valid
        if [[ $small == no ]]; then tinystories train; fi
    fi
    # The last, since it needs what others do not.
    if [[ $only == all || $only == tinystories-head ]]; then tinystories_head; fi
}

main "$@"
