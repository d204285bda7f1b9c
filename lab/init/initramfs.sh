#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First user space of a lab guest: load what mounting needs, mount, hand over.
# The host reads /dev/ttyS1: "fail REASON" ends the boot with that reason.

b=/bin/busybox

fail() {
	echo "memtrace-lab: $1"
	echo "fail $1" >/dev/ttyS1
	$b sleep 1
	$b reboot -f
}

nine() {
	$b mkdir -p "$2"
	$b mount -t 9p -o "trans=virtio,version=9p2000.L,msize=262144,access=any$3" "$1" "$2" ||
		fail "it cannot mount a 9p share (CONFIG_9P_FS, CONFIG_NET_9P_VIRTIO)"
}

$b mount -t devtmpfs dev /dev || fail "it has no devtmpfs (CONFIG_DEVTMPFS)"
$b mount -t proc proc /proc
for module in $($b cat /modules/order); do
	$b insmod "/modules/$module" || fail "it cannot load the module $module"
done

n=0
until [ -b /dev/vda ]; do
	n=$((n + 1))
	[ $n -lt 100 ] || fail "it does not see the virtio disk (CONFIG_VIRTIO_PCI, CONFIG_VIRTIO_BLK)"
	$b sleep 0.1
done
$b mount -t ext4 -o ro /dev/vda /root || fail "it cannot mount ext4 (CONFIG_EXT4_FS)"
$b mount -t tmpfs -o mode=755 run /root/run || fail "it has no tmpfs (CONFIG_TMPFS)"
nine job /root/lab/job
nine results /root/lab/results
nine memtrace /root/lab/src/memtrace ,ro,cache=loose
if [ -e /modules/shared ]; then
	nine modules "/root/lib/modules" ,ro,cache=loose
fi
$b mount -t devtmpfs dev /root/dev
$b umount /proc /dev
exec $b switch_root /root /bin/bash /lab/job/init
