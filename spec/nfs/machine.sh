#!/bin/sh
# machine.sh COMMAND [ARGUMENT]...
#
# Runs a command, as root, in a machine of its own: a Linux that is a process (User Mode Linux), so that neither this
# machine's kernel nor its network is touched. That machine has this one's files, which it cannot write, and serves a
# folder by NFS to itself: $NFS_A is that by NFS 4.2, $NFS_B by NFS 3, as two hosts would have it mounted.
set -eu

if [ $$ != 1 ]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/nfs.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lib" "$work/run"
  ln -s /usr/lib/uml/modules "$work/lib/modules"
  truncate -s 64M "$work/disk"
  /sbin/mkfs.ext4 -q "$work/disk"
  export -p >"$work/environment"
  for word; do printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done >"$work/command"
  TMPDIR=$work timeout -k 5 "${NFS_TIMEOUT:-600}" linux.uml mem=512M ubd0="$work/disk" rootfstype=hostfs rootflags=/ ro \
    init="$(realpath "$0")" NFS_WORK="$work" NFS_FOLDER="$PWD" con=null con0=null,fd:1 ssl=null \
    </dev/null >"$work/console" 2>&1 || true
  [ -f "$work/run/status" ] || { tail -n 30 "$work/console" >&2; echo "machine.sh: the machine did not come up" >&2; exit 1; }
  cat "$work/run/output"
  exit "$(cat "$work/run/status")"
fi

# The first process of that machine.
work=$NFS_WORK
. "$work/environment"
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib/nfs
mount -t tmpfs tmpfs /mnt
mount -t hostfs -o "$work/run" none "$work/run"
hostname nfs
ip link set lo up
for module in nfsd nfsv3 nfsv4; do modprobe -d "$work" $module; done
mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery /mnt/disk /mnt/a /mnt/b
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mount /dev/ubda /mnt/disk
# A server that has just been started gives no locks for a while, in which clients may claim theirs again.
mount -t nfsd nfsd /proc/fs/nfsd
echo 1 >/proc/sys/fs/nfs/nlm_grace_period
exportfs -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 127.0.0.1:/mnt/disk
rpcbind -w
rpc.statd --no-notify
rpc.mountd
rpc.nfsd 4
echo Y >/proc/fs/nfsd/v4_end_grace
mount -t nfs -o vers=4.2 127.0.0.1:/ /mnt/a
mount -t nfs -o vers=3 127.0.0.1:/mnt/disk /mnt/b
export NFS_A=/mnt/a NFS_B=/mnt/b HOME=/run TMPDIR=/run
cd "$NFS_FOLDER"
status=0
eval "$(cat "$work/command")" >"$work/run/output" 2>&1 || status=$?
umount /mnt/a /mnt/b || true
echo $status >"$work/run/status"
sync
echo o >/proc/sysrq-trigger
sleep 60
