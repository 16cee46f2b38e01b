#!/bin/bash
# cluster.sh COMMAND [ARGUMENT]...
#
# Starts a Slurm of one node in a folder of its own, without systemd and apart from one that is installed, runs the
# command with it, and stops it, whatever happens. Everything listens on 127.0.0.1. The node has more processors and
# GPUs than the machine, as far as Slurm knows, so that jobs for a real cluster run as they stand.
set -eu

folder=$(mktemp -d "${TMPDIR:-/tmp}/slurm.XXXXXX")
chmod 755 "$folder" # munge refuses a socket that others cannot reach
host=$(hostname -s)
pids=()

stop() {
  local pid
  [ -z "${command:-}" ] || kill "$command" 2>/dev/null || true
  if [ -n "${SLURM_CONF:-}" ] && scancel --user="$(id -un)" 2>/dev/null; then
    for _ in $(seq 100); do
      [ -n "$(squeue --noheader 2>/dev/null)" ] || break
      sleep 0.1
    done
  fi
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  # One that has not told yet how its job ended would try to for a long time. (The brackets keep grep from itself.)
  for pid in $(grep -sla "${folder%?}[${folder: -1}]" /proc/[0-9]*/environ | cut -d/ -f3); do
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != slurmstepd ] || kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  echo "cluster.sh: $1" >&2
  tail -n 20 "$folder"/*.log >&2
  exit 1
}
. "$(dirname "$0")/../support/wait_for.sh"

# A port that nobody listens on. Below those of outgoing connections.
free_port() {
  local port
  while :; do
    port=$((RANDOM % 12000 + 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

mkdir "$folder/munge" "$folder/state" "$folder/spool"
head -c 128 /dev/urandom >"$folder/munge/key"
chmod 400 "$folder/munge/key"
munged --foreground --force --num-threads=2 --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" >"$folder/munged.log" 2>&1 &
pids+=($!)

cat >"$folder/slurm.conf" <<END
ClusterName=lmm
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1024
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=64 RealMemory=1048576 Gres=gpu:8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
touch "$folder"/gpu{0..7}
echo "NodeName=$host Name=gpu File=$folder/gpu[0-7]" >"$folder/gres.conf"
echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf"
export SLURM_CONF=$folder/slurm.conf

wait_for munge test -S "$folder/munge/socket"
slurmctld -D >"$folder/slurmctld.log" 2>&1 &
pids+=($!)
slurmd -D >"$folder/slurmd.log" 2>&1 &
pids+=($!)
wait_for "the node" sh -c 'sinfo -h -o %t | grep -qx idle'

"$@" & # in the background, since a trap waits for what is in front
command=$!
wait $command
