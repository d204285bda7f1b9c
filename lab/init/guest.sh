#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a lab guest: runs /lab/job/script once and tells the host how it ended.
# To the host over /dev/ttyS1: "up BYTES", "mark NAME" (answered "done …", "failed …" or "look BYTES"),
# "now BYTES" (answered "done …" or "failed …"), "end STATUS".  BYTES are those of all memory blocks.

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

# BPF programs that a guest compiled, for the next one: its files are those of the guest's root.
export MEMTRACE_PROGRAMS=/run/lab/programs/kept
mkdir -p /run/lab/programs
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,access=any programs /run/lab/programs &&
	mkdir -p -m 700 $MEMTRACE_PROGRAMS

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
if [[ $answer == look* ]]; then
	# A device has handed out its last block before the kernel has added it.
	SECONDS=0
	while (($(lab-blocks) < ${answer#look } && SECONDS < 5)); do
		sleep .1
	done
	# Waits for the lock that is held until an added block is online, and changes nothing.
	echo online >/sys/devices/system/memory/memory0/state
	printf 'now %s\n' "$(lab-blocks)" >&8
	read -r answer <&8
fi 2>/dev/null
echo "$answer"
[[ $answer == done* ]]
END
cat >/run/lab/bin/lab-blocks <<'END'
#!/bin/bash
# lab-blocks: bytes of all memory blocks, online or not; 0 where the kernel has no hotplug.
cd /sys/devices/system/memory 2>/dev/null || exec echo 0
blocks=(memory[0-9]*)
echo $((${#blocks[@]} * 0x$(<block_size_bytes)))
END
cat >/run/lab/bin/lab-run <<'END'
#!/bin/bash
# lab-run COMMAND: COMMAND between the marks "start" and "end"; the host keeps their answers.
lab-mark start >/dev/null
"$@"
status=$?
lab-mark end >/dev/null
exit $status
END
chmod +x /run/lab/bin/*

exec 8<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
for module in $(cat /lab/job/modules); do
	# What is built in may be in no modules.builtin, where a kernel has no modules.
	[ -d "/sys/module/$module" ] || modprobe "$module" || echo "fail it cannot load the module $module" >&8
done
echo "up $(lab-blocks)" >&8
cd /root || exit
setsid bash /lab/job/script </dev/null >/lab/job/output 2>&1 8>&-
status=$?
dmesg >/lab/job/dmesg
sync
echo "end $status" >&8
exec sleep infinity
