#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a lab guest: runs /lab/job/script once and tells the host how it ended.
# To the host over /dev/ttyS1: "up", "mark NAME" (answered "done …" or "failed …"), "end STATUS".

export PATH=/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb
export PYTHONPATH=/lab/src:/opt/memtrace PYTHONDONTWRITEBYTECODE=1
export RESULTS=/lab/results FILES=/lab/job/files

mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts
mount -t devpts pts /dev/pts
for folder in /dev/shm /tmp /var/tmp /root; do
	mount -t tmpfs -o mode=1777 tmp $folder
done
mount -t tracefs trace /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
hostname lab

mkdir -p /run/lab/bin
cat >/run/lab/bin/memtrace <<'END'
#!/bin/sh
exec python3 -m memtrace.cli "$@"
END
cat >/run/lab/bin/lab-mark <<'END'
#!/bin/bash
# lab-mark NAME: have the host do what it has for this mark; prints its answer.
exec 9>/run/lab/mark.lock 8<>/dev/ttyS1
flock 9
printf 'mark %s\n' "$1" >&8
read -r answer <&8
echo "$answer"
[[ $answer == done* ]]
END
chmod +x /run/lab/bin/*

exec 8<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
for module in $(cat /lab/job/modules); do
	modprobe "$module" || echo "fail it cannot load the module $module" >&8
done
echo up >&8
cd /root || exit
setsid bash /lab/job/script </dev/null >/lab/job/output 2>&1 8>&-
status=$?
dmesg >/lab/job/dmesg
sync
echo "end $status" >&8
exec sleep infinity
