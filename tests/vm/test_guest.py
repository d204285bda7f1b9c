# SPDX-License-Identifier: Apache-2.0
"""The guest runner on real kernels: what comes out, how failure is told, what is left.

Boots: 25, most of them of a few seconds.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import job
from memtrace.lab.guest import prepare as guest_parts
from memtrace.lab.guest import run_guest
from memtrace.lab.kernels import prepare
from memtrace.lab.needs import find
from memtrace.lab.programs import program
from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import (
    CutPower,
    GuestError,
    GuestSpec,
    PlugDimm,
    Step,
    UnplugDimm,
)

from .conftest import Guest, qemus

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("leaves_nothing")]

QUICK = "accept-6.12"


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
    guest_parts("debian-6.12")
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
        guest_parts(QUICK)
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
