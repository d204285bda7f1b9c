# SPDX-License-Identifier: Apache-2.0
"""The command line that a spec becomes."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from memtrace.lab.qemu import Machine, command_line, cpus_of_nodes, kernel_arguments
from memtrace.lab.sizes import GIB
from memtrace.lab.spec import GuestSpec, PlugDimm, Step, VirtioMem

MACHINE = Machine(
    boot_file=Path("/k/vmlinux"),
    initramfs=Path("/c/initramfs"),
    image=Path("/c/root.ext4"),
    console=Path("/job/console"),
    job=Path("/job/share"),
    results=Path("/out,put"),
    programs=Path("/c/programs"),
    package=Path("/src/memtrace"),
    modules=None,
    qmp_fd=7,
    control_fd=8,
    tsc_khz=2_500_000,
)


def line(machine: Machine = MACHINE, **changes: Any) -> list[str]:
    return command_line(GuestSpec("debian-6.12", "true", **changes), machine)


def values(words: list[str], option: str) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == option]


def test_a_panic_ends_the_guest_instead_of_rebooting_it() -> None:
    words = line()
    assert "-no-reboot" in words
    assert "panic=-1" in values(words, "-append")[0].split()


def test_what_is_appended_comes_last_so_that_it_wins() -> None:
    spec = GuestSpec("debian-6.12", "true", append="console=ttyS1 init_on_alloc=0")
    assert kernel_arguments(spec, None).endswith("console=ttyS1 init_on_alloc=0")
    assert "tsc_early_khz" not in kernel_arguments(spec, None)
    assert "tsc_early_khz=2500000" in kernel_arguments(spec, 2_500_000)


def test_a_clock_of_instructions_is_told_to_qemu_and_to_the_run() -> None:
    assert "-icount" not in line()
    words = line(clock="instructions")
    assert values(words, "-icount") == ["shift=0,sleep=off"]
    assert values(words, "-accel") == ["tcg,thread=single"]
    assert "memtrace.clock=instructions" in values(words, "-append")[0].split()
    assert "memtrace.clock" not in values(line(), "-append")[0]


def test_memory_and_cpus_of_two_nodes() -> None:
    words = line(memory=(2 * GIB, GIB), cpus=4)
    assert values(words, "-m") == ["3072M"]
    assert values(words, "-numa") == [
        "node,nodeid=0,cpus=0,cpus=1,memdev=ram0",
        "node,nodeid=1,cpus=2,cpus=3,memdev=ram1",
    ]
    assert "memory-backend-ram,id=ram1,size=1024M" in values(words, "-object")


def test_a_node_without_memory_has_no_cpus() -> None:
    assert cpus_of_nodes(3, (GIB, 0, GIB)) == [[0, 1], [], [2]]
    assert values(line(memory=(GIB, 0)), "-numa")[1] == "node,nodeid=1"


@pytest.mark.parametrize("cpus", range(1, 9))
@pytest.mark.parametrize("memory", [(GIB,), (GIB, GIB), (GIB, GIB, GIB)])
def test_each_cpu_is_on_one_node(cpus: int, memory: tuple[int, ...]) -> None:
    nodes = cpus_of_nodes(cpus, memory)
    assert sorted(cpu for node in nodes for cpu in node) == list(range(cpus))


def test_room_for_hotplug_only_where_something_can_be_plugged() -> None:
    assert "maxmem" not in values(line(), "-m")[0]
    words = line(steps=(Step("go", PlugDimm("d0", 0, GIB)),))
    assert values(words, "-m") == ["2048M,slots=1,maxmem=5120M"]


def test_virtio_mem_is_there_from_the_start_and_empty() -> None:
    words = line(virtio_mem=(VirtioMem("vm0", 0, 2 * GIB),))
    assert "virtio-mem-pci,id=vm0,memdev=ram-vm0,node=0,requested-size=0M" in words


def test_only_the_script_s_folders_and_that_of_programs_can_be_written() -> None:
    shares = values(line(), "-fsdev")
    tags = [share.split(",id=")[1].split(",")[0] for share in shares]
    assert tags == ["job", "results", "programs", "memtrace"]
    assert ["readonly=on" in share for share in shares] == [False, False, False, True]
    assert "readonly=on" in values(line(), "-drive")[0]


def test_a_comma_in_a_path_does_not_end_it() -> None:
    assert "path=/out,,put," in values(line(), "-fsdev")[1]


def test_no_socket_file_is_made() -> None:
    assert "socket,id=qmp,fd=7" in values(line(), "-chardev")
    assert "socket,id=control,fd=8" in values(line(), "-chardev")
