#!/usr/bin/env bash
# experiments/slurm.sh on a real Slurm:  tests/clients/slurm.sh
#
# Installs Debian's Slurm (as root, with apt) and runs it on this machine alone, in a temporary folder: a controller, a
# node and munge, which are stopped at the end. Submits a run of six parts, and compares what comes of it with the same
# run in one piece; then one with a part that fails, which the report must name. Says what it skipped. Not a part of
# tests/run.sh.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
skip() {
  echo "skipped: Slurm: $1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
}
[ "$(id -u)" -eq 0 ] || skip "its daemons need root"
if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
  command -v apt-get >/dev/null || skip "not installed, and there is no apt-get"
  apt-get update -qq >/dev/null 2>&1 || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm slurmctld slurmd munge \
    >/dev/null 2>&1 || skip "apt-get cannot install slurm-wlm slurmctld slurmd munge"
fi
if pgrep -x slurmctld >/dev/null; then skip "one is running on this machine already"; fi
# shellcheck source=experiments/setup.sh
source "$here/../../experiments/setup.sh"
notch_setup program
work=$(mktemp -d)
chmod 755 "$work"
export SLURM_CONF=$work/slurm.conf
stop() {
  for file in "$work"/*.pid; do
    [ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
  done
  [ -z "${munge_pid:-}" ] || kill "$munge_pid" 2>/dev/null || true
  sleep 1
  rm -rf "$work" "$notch_log"
}
trap stop EXIT

if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
  for folder in /run/munge:755 /var/log/munge:700 /var/lib/munge:700; do
    install -d -o munge -g munge -m "${folder#*:}" "${folder%:*}"
  done
  runuser -u munge -- munged
  munge_pid=$(cat /run/munge/munged.pid)
fi
host=$(hostname -s)
cat >"$SLURM_CONF" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=p Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
mkdir "$work/state" "$work/spool"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 30); do
  [ "$(sinfo -h -o %t 2>/dev/null)" != idle ] || break
  sleep 1
done
[ "$(sinfo -h -o %t)" = idle ] || {
  tail -3 "$work"/slurm*.log >&2
  skip "it does not start here"
}

passed=0
failed=0
check() {
  local name=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    passed=$((passed + 1))
    echo "passed: $name"
  else
    failed=$((failed + 1))
    echo "FAILED: $name"
    tail -5 "$work/check.log"
  fi
}
# ended JOB: waits until no job of it is left, at most ten minutes.
ended() {
  for _ in $(seq 300); do
    [ -n "$(squeue -h -j "$1" 2>/dev/null)" ] || return 0
    sleep 2
  done
  return 1
}
job_of() { sed -n "s/^job \([0-9]*\): $1.*/\1/p" "$work/submitted"; }
experiment=$here/../browser/small.toml
settings=(quant.bits=8,4 "quant.methods=rtn,gptq,qat-ste")

# With a job's number of threads: the report names it.
"$notch_build/notch" run "$experiment" "${settings[@]}" -q --threads 1 --out "$work/whole" >/dev/null
"$here/../../experiments/slurm.sh" 6 "$work/cut" "$experiment" "${settings[@]}" >"$work/submitted"
check "six parts and their report end" ended "$(job_of "the report")"
# But for seconds, which are those of each run, and the digests over them.
for run in whole cut; do
  sed -i -e 's/"seconds": *[0-9.e+-]*/"seconds":0/' -e 's/, *"digest": *"[0-9a-f]*"//' "$work/$run"/seed-*/rows/*.json
  "$notch_build/notch" report "$work/$run" -q >/dev/null
done
for file in report.html results.csv results.md metrics.jsonl config.resolved.toml; do
  check "$file is that of the run in one piece" cmp "$work/whole/$file" "$work/cut/$file"
done

# A part whose directory is in the way fails.
mkdir "$work/bad-shard-2-of-2"
echo mine >"$work/bad-shard-2-of-2/file"
"$here/../../experiments/slurm.sh" 2 "$work/bad" "$experiment" "${settings[@]}" >"$work/submitted"
check "two parts, one of which fails, end" ended "$(job_of "the report")"
check "the report names the part" grep -q "bad-shard-2-of-2" "$work/bad-slurm.log"
check "there is no report without it" test ! -e "$work/bad/report.html"
check "the other part is done" test -f "$work/bad-shard-1-of-2/seed-1/rows/qat-ste-int4.json"

# Submitted again after the cause is gone, only what is missing is made.
rm -r "$work/bad-shard-2-of-2"
"$here/../../experiments/slurm.sh" 2 "$work/bad" "$experiment" "${settings[@]}" >"$work/submitted"
check "submitted again they end" ended "$(job_of "the report")"
check "and the report is there" test -f "$work/bad/report.html"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
