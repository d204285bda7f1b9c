# SPDX-License-Identifier: Apache-2.0
"""Prints this machine's /proc and /sys, as far as the tests of probes/ read them, as JSON.

    python3 -m memtrace.lab.guest --kernel debian-6.12 --mem 1G,1G --file tests/probes/capture.py \\
        -- 'python3 $FILES/capture.py > $RESULTS/machine.json' --results OUT

Files are ``path: text``, directories whose names alone count are ``path/: ""``.
Left out to keep it small: CPUs but the first, per-CPU lists of zoneinfo, and
kernel messages that no test looks at (the first one stays, with its number).
"""

import json
import os
import re
from pathlib import Path

FILES = (
    "/proc/cmdline",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/vmstat",
    "/proc/zoneinfo",
    "/proc/self/status",
    "/proc/self/uid_map",
    "/proc/sys/kernel/arch",
    "/proc/sys/kernel/ftrace_enabled",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/kernel/numa_balancing",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/version",
    "/proc/sys/net/core/bpf_jit_enable",
    "/proc/sys/vm/min_free_kbytes",
    "/proc/sys/vm/watermark_scale_factor",
    "/proc/sys/vm/lowmem_reserve_ratio",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/memory/block_size_bytes",
    "/sys/class/dmi/id/sys_vendor",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/transparent_hugepage/defrag",
    "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
)
GLOBS = (
    "/sys/devices/system/node/node*/cpulist",
    "/sys/devices/system/node/node*/meminfo",
    "/sys/devices/system/node/node*/hugepages/*/*_hugepages",
    "/sys/kernel/mm/transparent_hugepage/hugepages-*/enabled",
)
NAMES = (
    "/sys/devices/system/node/node*/memory[0-9]*",
    "/sys/bus/event_source/devices/*",
    "/sys/kernel/btf/vmlinux",
)
MESSAGES = re.compile(
    "Linux version|Command line|Hypervisor|auto-init|Unaccepted|unaccepted|locked down|deferred pages"
    "|Early memory node|^ +node +\\d|Encryption|Isolation"
)


def shortened(path: str, text: str) -> str:
    if path == "/proc/cpuinfo":
        return text.split("\n\n")[0] + "\n"
    if path == "/proc/zoneinfo":
        return re.sub(r"  pagesets\n(    .*\n|  vm stats .*\n)+", "", text)
    return text


def messages() -> str:
    """Records of /dev/kmsg that matter."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    kept: list[str] = []
    try:
        while True:
            head, _, text = os.read(fd, 8192).decode(errors="replace").partition(";")
            if not kept or MESSAGES.search(text):
                kept.append(f"{head};{text.splitlines()[0]}\n")
    except BlockingIOError:
        return "".join(kept)
    finally:
        os.close(fd)


def main() -> None:
    tree = {}
    paths = [*FILES, *(str(p) for pattern in GLOBS for p in sorted(Path("/").glob(pattern[1:])))]
    for path in paths:
        try:
            tree[path] = shortened(path, Path(path).read_text())
        except OSError:
            continue
    for pattern in NAMES:
        for folder in sorted(Path("/").glob(pattern[1:])):
            tree[f"{folder}/"] = ""
    tree["/dev/kmsg"] = messages()
    print(json.dumps(tree, indent=1))


main()
