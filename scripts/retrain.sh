#!/usr/bin/env bash
# Trains the served model anew on its own text and on what people have accepted. A gate compares the result with the
# weights that are served; what passes is served from then on, by every server of the database, or begins as a canary.
#
#   scripts/retrain.sh TEXT GUARD [OPTION OF itera-train fit...]
#
#   TEXT    file with the text that the model was trained on, stories as in docs/score.md
#   GUARD   file with text of that kind that nothing is trained on
#   OPTION  how to train [default: --steps 2000 --batch 32 --length 128 --optimizer muon --learning-rate 4e-3]
#
#   ITERA_DATABASE, ITERA_CHECKPOINT, ITERA_CANARY, ITERA_ADAPT_PROBES  as for itera-serve
#   ITERA_BIN  folder of itera-serve, itera-train and itera-validate [default: those of PATH]
#   WORK       folder for texts, checkpoints and records [default: runs/retrain-TIME]
#   TRIGGER    why: manual or schedule, for the record [default: manual]
#   SERVER, RECORDS, DAYS  if one is given, nothing is done unless one says that it is time:
#              SERVER   URL of a server of the database: prompts have changed (drift) since the last retraining;
#                       ITERA_TOKEN is its key, if it wants one from all
#              RECORDS  so many accepted texts are new
#              DAYS     the last retraining is so many days old, or there was none
#              What the last one knew is in retrain-state.json in the folder that WORK is in.
#   MIN_TEXTS  accepted texts without which nothing is done [default: 50]
#   SHARE      percent of what is trained on that feedback shall be; it is repeated for that, 100 times at most
#              [default: 10]
#   WORSE      percent more bits that the result may need on GUARD [default: 1]; on the accepted texts of every tenth
#              visitor, which are not trained on, it may need no more
#
# Exit status 0: served, a canary, or nothing to do; 1: gate or probes have refused it; 2: it could not be done. The record is
# WORK/retraining.json; docs/serving.md tells more. Needs python3.
set -euo pipefail

(($# >= 2)) || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2; }
text=$1 guard=$2
shift 2
options=("$@")
((${#options[@]})) || options=(--steps 2000 --batch 32 --length 128 --optimizer muon --learning-rate 4e-3)
base=${ITERA_CHECKPOINT:-micro-tinystories}
base=${base%%,*}
work=${WORK:-runs/retrain-$(date -u +%Y%m%dT%H%M%SZ)}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf '== %s\n' "$*" >&2; }
# run PROGRAM ARGUMENT...: whatever goes wrong in it is not the gate's no.
run() {
    local program=$1
    shift
    "${ITERA_BIN:+$ITERA_BIN/}$program" "$@" || { say "$program has failed; nothing has changed"; exit 2; }
}

say "feedback"
state=$(dirname "$work")/retrain-state.json
# A call that has nothing to do leaves no folder behind.
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
run itera-serve feedback export --accepted --output "$new/accepted.txt" --held-out "$new/held_out.txt"
trigger=$(python3 "$here/retrain.py" due "$new" "$state" --least "${MIN_TEXTS:-50}" --trigger "${TRIGGER:-manual}" \
    ${SERVER:+--server "$SERVER"} ${RECORDS:+--records "$RECORDS"} ${DAYS:+--days "$DAYS"}) || {
    status=$?
    ((status == 3)) && exit 0
    exit 2
}
mkdir -p "$work"
mv "$new"/* "$work"
python3 "$here/retrain.py" texts "$work" "$text" --share "${SHARE:-10}" || exit 2

say "training"
run itera-train fit --dataset "$work/training.txt" --valid "$guard" --init "$base" --seed 1 "${options[@]}" \
    --output "$work/candidate.safetensors"
run itera-train quantize --checkpoint "$work/candidate.safetensors" --precision int8 --dataset "$work/training.txt"

say "gate"
served=$base
version=$(run itera-serve versions list | awk '$NF == "yes" { print $1, $3 }')
if [[ ${version#* } != none ]]; then
    served=$work/served.safetensors
    run itera-serve versions export active "$served"
fi
# gate NAME FILE PERCENT: whether the candidate needs at most so many percent more bits on a text.
gate() {
    local side
    for side in served candidate; do
        local checkpoint=$served
        [[ $side == served ]] || checkpoint=$work/candidate.safetensors
        run itera-validate --checkpoint "$checkpoint" --dataset "$2" --precision int8 --no-baselines \
            --output "$work/$1-$side.json" >/dev/null
    done
    local status=0
    "${ITERA_BIN:+$ITERA_BIN/}itera-validate" compare --fail-if-worse "$3" "$work/$1-served.json" \
        "$work/$1-candidate.json" || status=$?
    ((status < 2)) || exit 2
    return "$status"
}
passed=1
gate guard "$guard" "${WORSE:-1}" || passed=0
gate held_out "$work/held_out.txt" 0 || passed=0
python3 "$here/retrain.py" record "$work" "$text" "$guard" --trigger "$trigger" \
    --worse "${WORSE:-1}" --passed "$passed" || exit 2
# What was refused is not tried again until there is a new reason.
mv "$work/state.json" "$state"
if ((!passed)); then
    say "the gate has refused the candidate; $work/retraining.json tells why"
    exit 1
fi
"${ITERA_BIN:+$ITERA_BIN/}itera-serve" versions import --record "$work/retraining.json" "$work/candidate.safetensors" || {
    (($? == 1)) && {
        python3 "$here/retrain.py" refused "$work" || exit 2
        say "the probes have refused the candidate; $work/retraining.json says so"
        exit 1
    }
    say "itera-serve has failed; nothing has changed"
    exit 2
}
