# SPDX-License-Identifier: Apache-2.0
"""The guest runner on real kernels: what comes out, how failure is told, what is left.

Boots: 30, most of them of a few seconds.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import job
from memtrace.lab.guest import run_guest
from memtrace.lab.kernels import KERNELS, prepare
from memtrace.lab.needs import find
from memtrace.lab.programs import program
from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import (
    CutPower,
    GuestError,
    GuestResult,
    GuestSpec,
    PlugDimm,
    ResizeVirtioMem,
    Step,
    UnplugDimm,
    VirtioMem,
)

from .conftest import LIMIT_S, Guest

pytestmark = pytest.mark.vm

QUICK = "accept-6.12"


def qemus(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu" in words.split(b"\0")[0] and os.fsencode(folder) in words:
            found.append(int(entry.name))
    return found


@pytest.fixture(autouse=True)
def leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test, however it ended: no QEMU, no job folder, no mount more than before."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert qemus(tmp_path) == []
    assert list(scratch.glob(job.PREFIX + "*")) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


# One tour of each kernel


NODES = (GIB, GIB // 2)
COUNT = """
import ctypes
from bcc import BPF
text = "BPF_ARRAY(n, u64, 1); int hit(void *ctx) { n.atomic_increment(0); return 0; }"
b = BPF(text=text)
b.attach_kprobe(event="__x64_sys_getppid", fn_name="hit")
before = b["n"][0].value
libc = ctypes.CDLL(None)
for _ in range(23): libc.getppid()
print(b["n"][0].value - before)
"""
TOUR = """
total() { awk '/MemTotal/ {print $(NF - 1)}' $1; }
node1=/sys/devices/system/node/node1/meminfo
at() { echo "== $1"; }
at release; uname -r
at complaint; echo complaint >&2
at needs
python3 -c 'import bcc, click, numpy, pyarrow, memtrace; print(memtrace.__file__)'
python3 -c 'import pandas' 2>/dev/null || echo no pandas
test -r /sys/kernel/btf/vmlinux && test -r /sys/kernel/tracing/available_events &&
    test -e /sys/bus/event_source/devices/kprobe/type && command -v memtrace numactl
at kprobe; BCC_KERNEL_SOURCE=/lab/src/memtrace/probes/bpf/stub python3 $FILES/count.py
at cpus; cat /sys/devices/system/node/node*/cpulist
at memory; for node in 0 1; do total /sys/devices/system/node/node$node/meminfo; done
at cmdline; cat /proc/cmdline
at bound
$FILES/memhog 16 1 60 >/tmp/said & sleep 1
until grep -q touched /tmp/said; do sleep 0.1; done
grep -h 'bind:1' /proc/$!/numa_maps; kill $!
at dimm; before=$(total $node1)
lab-mark add; sleep 1; echo added $(($(total $node1) - before))
lab-mark remove; echo left $(($(total $node1) - before))
at virtio-mem; before=$(total /proc/meminfo)
lab-mark grow; sleep 1; echo added $(($(total /proc/meminfo) - before))
lab-mark shrink; sleep 1; echo left $(($(total /proc/meminfo) - before))
echo kept >$RESULTS/file
exit 3
"""


@dataclass(frozen=True)
class Tour:
    """What the tour of one kernel gave, and what it printed under each heading."""

    kernel: str
    result: GuestResult
    printed: dict[str, list[str]]


@pytest.fixture(scope="module", params=[entry.name for entry in KERNELS])
def tour(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """One boot of each kernel of the list."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "count.py").write_text(COUNT)
    kernel = str(request.param)
    spec = GuestSpec(
        kernel,
        TOUR,
        memory=NODES,
        cpus=3,
        append="memhp_default_state=online_movable init_on_alloc=0",
        files=(folder / "count.py", program("memhog")),
        modules=("virtio_mem",) if kernel.startswith("debian") else (),
        virtio_mem=(VirtioMem("vm0", 0, GIB),),
        steps=(
            Step("add", PlugDimm("d0", 1, GIB // 2)),
            Step("remove", UnplugDimm("d0")),
            Step("grow", ResizeVirtioMem("vm0", GIB // 2)),
            Step("shrink", ResizeVirtioMem("vm0", 0)),
        ),
        time_limit_s=LIMIT_S,
    )
    result = run_guest(spec, folder / "results")
    parts = re.split(r"^== (.*)\n", result.output, flags=re.MULTILINE)[1:]
    printed = {name: text.splitlines() for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return Tour(kernel, result, printed)


def test_output_status_results_and_logs_come_out(tour: Tour) -> None:
    (release,) = tour.printed["release"]
    assert release.startswith(tour.kernel.partition("-")[2])
    assert tour.printed["complaint"] == ["complaint"]
    assert tour.result.status == 3
    assert (tour.result.results / "file").read_text() == "kept\n"
    assert f"Linux version {release}" in tour.result.console
    assert f"Linux version {release}" in tour.result.dmesg
    assert 0 < tour.result.boot_s <= tour.result.wall_s


def test_what_recording_needs_is_there(tour: Tour) -> None:
    where, *rest = tour.printed["needs"]
    assert where == "/lab/src/memtrace/__init__.py"
    assert rest == ["no pandas", "/run/lab/bin/memtrace", "/usr/bin/numactl"]


def test_a_bcc_kprobe_counts_known_work(tour: Tour) -> None:
    assert tour.printed["kprobe"][-1] == "23"


def test_nodes_cpus_and_the_command_line_are_as_asked(tour: Tour) -> None:
    assert tour.printed["cpus"] == ["0-1", "2"]
    for total, size in zip(tour.printed["memory"], NODES, strict=True):
        # The kernel's own share (image, memmap, firmware) is not in MemTotal.
        assert size - 192 * MIB < int(total) * 1024 <= size
    assert tour.printed["cmdline"][0].endswith("init_on_alloc=0")


def test_a_counted_workload_runs_on_its_node(tour: Tour) -> None:
    assert re.findall(r"N\d+=\d+", " ".join(tour.printed["bound"])) == ["N1=4096"]


def test_a_dimm_comes_to_its_node_and_goes_again(tour: Tour) -> None:
    assert tour.printed["dimm"] == ["done d0 plugged", "added 524288", "done d0 unplugged", "left 0"]


def test_virtio_mem_grows_and_shrinks(tour: Tour) -> None:
    lines = [line for line in tour.printed["virtio-mem"] if not line.startswith("done")]
    assert lines == ["added 524288", "left 0"]


# What comes out


def test_the_output_is_told_while_the_script_runs(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    spec = GuestSpec(QUICK, "echo first; sleep 2; echo second")
    run_guest(spec, tmp_path / "results", lambda text: told.append((time.monotonic(), text)))
    assert "".join(text for _, text in told) == "first\nsecond\n"
    assert told[-1][0] - told[0][0] > 1


def test_two_guests_share_the_image(tmp_path: Path) -> None:
    def boot(name: str) -> str:
        return run_guest(GuestSpec(QUICK, f"echo {name}"), tmp_path / name).output

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(boot, ["one", "two"])) == ["one\n", "two\n"]


# Users' own kernels


def test_a_bzimage_of_one_s_own(guest: Guest, tmp_path: Path) -> None:
    shutil.copy(prepare(QUICK).boot_file, tmp_path / "bzImage")
    assert guest(str(tmp_path / "bzImage"), "echo alive").output == "alive\n"


def test_a_folder_that_a_package_was_unpacked_into(guest: Guest) -> None:
    folder = prepare("debian-6.1").boot_file.parents[1]
    assert guest(str(folder), "ls /lib/modules").output.startswith("6.1.0-")


# Known workloads


def test_guest_memfd_runs_where_the_kernel_has_it(guest: Guest) -> None:
    result = guest(QUICK, "$FILES/gmemtest -n 300 -m 20", files=(program("gmemtest"),))
    assert result.status == 0, result.output


def test_emulated_acceptance_logs_each_call(guest: Guest) -> None:
    append = "unaccepted_emul=768M@1G unaccepted_emul_cost=100000 accept_memory=lazy"
    result = guest(QUICK, "head -1 /sys/kernel/debug/unaccepted_emul", memory=(2 * GIB,), append=append)
    facts = dict(re.findall(r"(\w+)=(\w+)", result.output))
    assert int(facts["units_left"]) + int(facts["units_done"]) == 384
    assert int(facts["calls"]) > 0
    assert facts["bad"] == "0"


# Hotplug


def test_a_dimm_in_use_is_kept_and_the_script_is_told(guest: Guest) -> None:
    script = """
    lab-mark add; sleep 1
    numactl -m1 python3 -c 'import os
for i in range(20000): os.mkdir(f"/tmp/{i}")'
    lab-mark remove || echo kept with status $?
    """
    steps = (Step("add", PlugDimm("d0", 1, GIB // 2)), Step("remove", UnplugDimm("d0")))
    append = "memhp_default_state=online_kernel"
    result = guest(QUICK, script, memory=(GIB, 0), steps=steps, append=append)
    assert "failed d0 is refused by the guest" in result.output, result.output
    assert "kept with status 1" in result.output


def test_a_step_that_qemu_refuses_is_told(guest: Guest) -> None:
    steps = (Step("remove", UnplugDimm("nothing")),)
    with pytest.raises(GuestError, match="QEMU refuses device_del: Device 'nothing' not found"):
        guest(QUICK, "lab-mark remove; sleep 60", steps=steps)


def test_a_power_cut_keeps_what_was_written(guest: Guest) -> None:
    script = "echo written >$RESULTS/file; lab-mark now; sleep 60; echo late >$RESULTS/file"
    result = guest(QUICK, script, steps=(Step("now", CutPower()),))
    assert result.status is None
    assert (result.results / "file").read_text() == "written\n"


# Failures, each in a sentence


def test_a_panic(guest: Guest) -> None:
    with pytest.raises(GuestError, match="panicked while its script ran: sysrq triggered crash") as failure:
        guest(QUICK, "echo c >/proc/sysrq-trigger; sleep 60")
    assert "last console lines:\n" in str(failure.value)
    assert "Linux version" in failure.value.console


def test_a_boot_that_dies_is_tried_once_more_and_then_told(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(GuestError, match=r"panicked before user space: VFS: Unable to mount root") as failure:
        guest(QUICK, "true", append="rdinit=/no-such-init root=/dev/none")
    assert "trying once more" in caplog.text
    assert failure.value.console.count("Linux version") == 1


@pytest.fixture
def fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """`fake_qemu(shell text)`: found in place of QEMU, whose real path is $QEMU; its folder."""

    def install(text: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        wrapper = folder / "qemu-system-x86_64"
        wrapper.write_text(f"#!/bin/sh\nQEMU={find(wrapper.name)}\n{text}\n")
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return folder

    return install


def test_a_boot_that_dies_once_is_a_result(guest: Guest, fake_qemu: Callable[[str], Path]) -> None:
    folder = fake_qemu('mkdir "$0.died" 2>/dev/null && exit 0; exec "$QEMU" "$@"')
    result = guest(QUICK, "echo alive")
    assert (folder / "qemu-system-x86_64.died").exists()
    assert (result.output, result.tries) == ("alive\n", 2)


def test_qemu_killed_by_the_host(guest: Guest, fake_qemu: Callable[[str], Path]) -> None:
    fake_qemu("kill -9 $$")
    with pytest.raises(GuestError, match="QEMU failed: it was killed by signal 9"):
        guest(QUICK, "true")


def test_a_qemu_that_is_too_old(guest: Guest, fake_qemu: Callable[[str], Path]) -> None:
    fake_qemu("echo qemu: -accel: invalid option >&2; exit 1")
    with pytest.raises(GuestError, match="QEMU failed: qemu: -accel: invalid option"):
        guest(QUICK, "true")


def test_a_script_that_hangs_is_killed_within_its_limit(guest: Guest) -> None:
    start = time.monotonic()
    with pytest.raises(GuestError, match="the script did not end within 24 s; the guest was killed"):
        guest(QUICK, "sleep 600", time_limit_s=24)
    assert time.monotonic() - start < 40


def test_a_boot_that_hangs_is_killed_within_its_limit(guest: Guest) -> None:
    start = time.monotonic()
    with pytest.raises(GuestError, match="did not reach user space within 4 s"):
        guest("debian-6.12", "true", time_limit_s=4)
    assert time.monotonic() - start < 14


def test_a_guest_out_of_memory(guest: Guest) -> None:
    script = """python3 -c 'x = [b"x" * (64 << 20) for _ in range(32)]'"""
    with pytest.raises(GuestError, match="ran out of memory: its kernel killed python3"):
        guest(
            QUICK, script, memory=(512 * MIB,), append="vm.overcommit_memory=1 sysctl.vm.overcommit_memory=1"
        )


def test_a_module_that_is_not_there(guest: Guest) -> None:
    with pytest.raises(GuestError, match="cannot be a guest: it cannot load the module no_such"):
        guest("debian-6.1", "true", modules=("no_such",))


def test_a_kernel_that_qemu_cannot_start(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(b"MZ" + bytes(1 << 20))
    with pytest.raises(MemtraceError, match="is not an x86-64 kernel"):
        guest(str(tmp_path / "bzImage"), "true")


def test_a_kernel_file_without_its_modules(guest: Guest, tmp_path: Path) -> None:
    vmlinuz = next(prepare("debian-6.1").boot_file.parent.glob("vmlinuz*"))
    # Taken out of the folder where they would be found.
    shutil.copy(vmlinuz, tmp_path / "vmlinuz")
    with pytest.raises(GuestError, match=r"it does not see the virtio disk .*CONFIG_VIRTIO_BLK"):
        guest(str(tmp_path / "vmlinuz"), "true")


def test_more_memory_than_the_host_can_map(guest: Guest) -> None:
    with pytest.raises(GuestError, match="QEMU failed: "):
        guest(QUICK, "true", memory=(1 << 52,))


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MemtraceError, match=r"cannot run a guest: .*file"):
        run_guest(GuestSpec(QUICK, "true"), tmp_path / "file" / "results")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80M", "tmpfs", small], check=True)
    try:
        spec = GuestSpec(QUICK, "dd if=/dev/zero of=$RESULTS/file bs=1M count=100")
        with pytest.raises(MemtraceError, match=r"the disk of .* is full: free 64 MiB or more"):
            run_guest(spec, small)
        (small / "file").unlink()
        (small / "file").write_bytes(bytes(60 * MIB))
        start = time.monotonic()
        with pytest.raises(MemtraceError, match=r"the disk of .* is full"):
            run_guest(GuestSpec(QUICK, "true"), small)
        assert time.monotonic() - start < 3
    finally:
        subprocess.run(["umount", small], check=True)


# Nothing is left, however the caller ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_caller_leaves_no_guest(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memtrace.lab.guest", "--kernel", QUICK, "--", "echo up; sleep 600"]
    # Of a job in the background, as a suite may be, the children ignore SIGINT.
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    caller = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path, preexec_fn=heeded
    )
    assert caller.stdout
    assert caller.stdout.readline() == b"up\n"
    assert len(qemus(tmp_path)) == 1
    caller.send_signal(number)
    caller.communicate(timeout=20)
    assert caller.returncode != 0
    deadline = time.monotonic() + 5
    while qemus(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert qemus(tmp_path) == []
    if number == signal.SIGKILL:
        # Nobody could remove the folder then: the next guest does.
        for folder in Path(tempfile.gettempdir()).glob(job.PREFIX + "*"):
            os.utime(folder, (0, 0))
        job.remove_orphans()
