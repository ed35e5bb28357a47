#!/usr/bin/env bash
# A run as a Slurm job array:  experiments/slurm.sh N OUT EXP.toml [key=value...] [-- options of sbatch]
#
#   experiments/slurm.sh 6 runs/h2h experiments/headtohead.toml seeds=1,2,3 -- --cpus-per-task=2 --time=4:00:00
#
# Builds notch here, submits N jobs that make a part each (`notch run --shard i/N`, in OUT-shard-i-of-N), and one that
# puts the parts together in OUT when all have ended; it names a part that failed. A job whose time is up saves its
# state and is queued again. Submitted once more, what is there is gone on with. Logs: OUT-slurm-i.log, OUT-slurm.log.
set -eu
if [ $# -lt 3 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
parts=$1
out=$(realpath -m "$2")
experiment=$(realpath -e "$3")
shift 3
overrides=()
options=()
while [ $# -gt 0 ]; do
  if [ "$1" = -- ]; then
    options=("${@:2}")
    break
  fi
  overrides+=("$1")
  shift
done
# shellcheck source=experiments/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
if ! command -v sbatch >/dev/null; then
  notch_fail "there is no sbatch here" "without Slurm: seq $parts | xargs -P 2 -I I notch run EXP.toml --shard I/$parts"
fi
notch_setup program
mkdir -p "$(dirname "$out")"

# Words for the scripts below.
quoted() { printf ' %q' "$@"; }
run=$(quoted "$notch_build/notch" run "$experiment" "${overrides[@]}" --out "$out" -q)
array=$(
  sbatch --parsable --array="1-$parts" --job-name=notch --output="$out-slurm-%a.log" --open-mode=append --requeue \
    --signal=B:TERM@60 "${options[@]}" <<EOF
#!/bin/bash
part=\$SLURM_ARRAY_TASK_ID
resume=
[ ! -f$(quoted "$out")-shard-\$part-of-$parts/config.resolved.toml ] || resume=--resume
$run --shard \$part/$parts --threads \${SLURM_CPUS_PER_TASK:-1} \$resume &
child=\$!
trap 'kill -TERM \$child' TERM
while true; do
  wait \$child && code=0 || code=\$?
  kill -0 \$child 2>/dev/null || break # else only the trap ended the wait
done
[ \$code -ne 143 ] || scontrol requeue \$SLURM_JOB_ID
exit \$code
EOF
)
report=$(
  sbatch --parsable --dependency="afterany:${array%%;*}" --job-name=notch-report --output="$out-slurm.log" "${options[@]}" <<EOF
#!/bin/bash
exec$(quoted "$notch_build/notch") report$(quoted "$out")-shard-*-of-$parts --out$(quoted "$out")
EOF
)
echo "job ${array%%;*}: $parts parts, $out-shard-*-of-$parts"
echo "job ${report%%;*}: the report, $out/report.html; $out-slurm.log says what is missing if a part fails"
