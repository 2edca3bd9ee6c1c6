#!/usr/bin/env bash
# Scores a file on a real Slurm of this machine alone (munged, slurmctld and slurmd on loopback): an array of 4 tasks, one
# of which is requeued while it runs. The rows that `merge` joins must be those of one process.
#
#   scripts/check-slurm.sh [MEGABYTES]   size of the file that is made for it [default: 4]
#
#   ITERA_VALIDATE   the program [default: builds it]
#
# Needs root and Debian's packages slurm-wlm and munge; INSTALL=1 installs them. Exit status 0 the rows agree, 1 they do
# not, 2 could not run. SKIPPED where Slurm is not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MEGABYTES=${1:-4}
if [[ -n ${INSTALL:-} ]] && ! command -v slurmctld >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends slurm-wlm munge >/dev/null
fi
for command in slurmctld slurmd munged sbatch scontrol; do
    if ! command -v "$command" >/dev/null || ((EUID)); then
        printf 'SKIPPED: no Slurm here that root could start (INSTALL=1 installs it)\n' >&2
        exit 0
    fi
done
if [[ -z ${ITERA_VALIDATE:-} ]]; then
    cargo build --locked --release --quiet -p itera-validate
    ITERA_VALIDATE=${CARGO_TARGET_DIR:-target}/release/itera-validate
fi
ITERA_VALIDATE=$(realpath "$ITERA_VALIDATE")
export ITERA_VALIDATE

folder=$(mktemp -d)
daemons=()
# shellcheck disable=SC2329 # called by the trap
finish() {
    ((${#daemons[@]})) && kill "${daemons[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

# Two daemons and their secret, in a folder of their own.
dd if=/dev/urandom of="$folder/key" bs=1024 count=1 status=none
chmod 700 "$folder"
chmod 400 "$folder/key"
munged --foreground --force --key-file "$folder/key" --socket "$folder/munge" --pid-file "$folder/munge.pid" \
    --log-file "$folder/munge.log" --seed-file "$folder/seed" > "$folder/munged.log" 2>&1 &
daemons+=($!)
host=$(hostname -s)
cat > "$folder/slurm.conf" <<CONF
ClusterName=alone
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
ReturnToService=2
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=60 State=UP
CONF
mkdir "$folder/state" "$folder/spool" "$folder/scores"
export SLURM_CONF=$folder/slurm.conf
slurmctld -D -f "$SLURM_CONF" > "$folder/slurmctld.log" 2>&1 &
daemons+=($!)
slurmd -D -f "$SLURM_CONF" > "$folder/slurmd.log" 2>&1 &
daemons+=($!)
for _ in {1..60}; do
    [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] && break
    sleep 0.5
done
if [[ $(sinfo --noheader --format=%T 2>/dev/null) != idle ]]; then
    printf 'SKIPPED: Slurm does not start here: %s\n' "$(tail -n 1 "$folder/slurmd.log" "$folder/slurmctld.log" | tr '\n' ' ')" >&2
    exit 0
fi

python3 - "$folder/texts.jsonl" "$MEGABYTES" <<'PYTHON'
import json, sys
path, size = sys.argv[1], int(float(sys.argv[2]) * 1e6)
with open(path, "w") as file:
    number = 0
    while file.tell() < size:
        text = f"Tim had {number} cats. " + "They ran to the park and saw a dog. " * (number % 40)
        file.write(json.dumps({"text": text}) + "\n")
        number += 1
PYTHON
options=("$folder/texts.jsonl" --checkpoint nano-tinystories --precision int8)
job=$(sbatch --parsable --array=0-3 --cpus-per-task=1 --mem=0 --output="$folder/%A_%a.log" \
    deploy/slurm/score.sbatch "${options[@]}" --output "$folder/scores/rows.jsonl")
# Ended while it runs, and put back into the queue.
for _ in {1..120}; do
    [[ -e $folder/scores/rows.2-of-4.jsonl.partial ]] && break
    sleep 0.25
done
scontrol requeue "${job}_1"
scontrol show job "${job}_1" | grep -q Restarts=1 || { printf 'the task was not requeued\n' >&2; exit 1; }
for _ in {1..1200}; do
    [[ -z $(squeue --noheader --jobs "$job" 2>/dev/null) ]] && break
    sleep 0.5
done
"$ITERA_VALIDATE" merge "$folder/scores" --output "$folder/merged.jsonl" || { cat "$folder"/*.log >&2; exit 1; }
"$ITERA_VALIDATE" score "${options[@]}" --output "$folder/whole.jsonl"
if ! cmp "$folder/merged.jsonl" "$folder/whole.jsonl"; then
    printf 'the rows of the array differ from those of one process\n' >&2
    exit 1
fi
printf 'Slurm: %s rows of 4 tasks, one requeued, are those of one process\n' "$(wc -l < "$folder/merged.jsonl")"
