# SPDX-License-Identifier: Apache-2.0
"""Allocations in interrupts, while the task that they interrupt takes page faults.

Echo requests to the loopback device wait there for a timer (the queueing discipline netem).
Its interrupt answers them, and each answer of 30 KB takes pages of order 3.

    interrupted SECONDS HISTOGRAM

Prints, as JSON, the times between which it did so, and what ftrace counted meanwhile: HISTOGRAM
is the folder of an event that has a histogram by order.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

_NEW_QDISC, _REPLACE = 36, 0x1 | 0x4 | 0x100 | 0x400
_ROOT = 0xFFFFFFFF
_DELAY_TICKS = 15_625
"""A millisecond, in the 64 ns of the kernel's packet scheduler."""
_PAYLOAD = 30_000
_SET_FLAGS, _UP = 0x8914, 0x1
"""SIOCSIFFLAGS and IFF_UP."""
_BURST = 64
_SETTLE_S = 0.2
_FAULTS = 4_096


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _delay_loopback() -> None:
    """Let each packet on lo wait for a timer: ``tc qdisc replace dev lo root netem delay 1ms 1ms``."""
    subprocess.run(("modprobe", "sch_netem"), check=True)
    options = struct.pack("<IIIIII", _DELAY_TICKS, 100_000, 0, 0, 0, _DELAY_TICKS)
    message = struct.pack("<BxxxiIII", 0, socket.if_nametoindex("lo"), 0, _ROOT, 0)
    message += _attribute(1, b"netem\0") + _attribute(2, options)
    header = struct.pack("<IHHII", 16 + len(message), _NEW_QDISC, _REPLACE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(header + message)
        answer = netlink.recv(4096)
    error = struct.unpack_from("<i", answer, 16)[0]
    if error:
        raise OSError(-error, os.strerror(-error))


def _echo_request() -> bytes:
    data = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + bytes(_PAYLOAD)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return data[:2] + struct.pack(">H", ~total & 0xFFFF) + data[4:]


def _up(device: str) -> None:
    flags = struct.pack("16sH14x", device.encode(), _UP)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, flags)


def _by_order(folder: Path) -> dict[int, int]:
    lines = re.findall(r"order:\s*(\d+)\s*}\s*hitcount:\s*(\d+)", (folder / "hist").read_text())
    return {int(order): int(hits) for order, hits in lines}


def main(seconds: float, folder: Path) -> None:
    """Take page faults for so long, interrupted all the time."""
    os.sched_setaffinity(0, {0})
    _up("lo")
    _delay_loopback()
    request, sent = _echo_request(), 0
    before, begin = _by_order(folder), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.setblocking(False)
        while time.monotonic() < end:
            for _ in range(_BURST):
                try:
                    raw.sendto(request, ("127.0.0.1", 0))
                except BlockingIOError:
                    break
                sent += 1
            with mmap.mmap(-1, _FAULTS * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE) as memory:
                memory.madvise(mmap.MADV_NOHUGEPAGE)
                for page in range(_FAULTS):
                    memory[page * mmap.PAGESIZE] = 1
    # What still waits for the timer is answered before the end.
    time.sleep(_SETTLE_S)
    done, after = time.clock_gettime_ns(time.CLOCK_BOOTTIME), _by_order(folder)
    hits = {order: count - before.get(order, 0) for order, count in after.items()}
    print(json.dumps({"begin_ns": begin, "end_ns": done, "sent": sent, "hits": hits}))


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
