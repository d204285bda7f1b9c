# SPDX-License-Identifier: Apache-2.0
"""From a guest's spec to QEMU's command line; nothing here starts anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import GuestSpec

# What every guest gets.  A panic or an oops ends the guest (with -no-reboot) instead of
# hanging it; tsc=reliable keeps it off the HPET, which is slow under emulation.
KERNEL_ARGUMENTS = "console=ttyS0 panic=-1 oops=panic tsc=reliable no_timer_check random.trust_cpu=on"
# Means nothing to the kernel; in the run it tells what its times are (analyzer/caveats.py).
CLOCK_ARGUMENT = "memtrace.clock=instructions"


@dataclass(frozen=True)
class Machine:
    """The host's side of one guest: files, and the ends of the two socket pairs."""

    boot_file: Path
    initramfs: Path
    image: Path
    console: Path
    job: Path
    results: Path
    programs: Path
    package: Path
    modules: Path | None
    qmp_fd: int
    control_fd: int
    tsc_khz: int | None


def command_line(spec: GuestSpec, machine: Machine) -> list[str]:
    """The whole of QEMU's command line."""
    shares = [_share("job", machine.job), _share("results", machine.results)]
    # In the guest its files belong to who made them there: programs are loaded from root's alone.
    shares.append(_share("programs", machine.programs, owners="mapped-file"))
    shares.append(_share("memtrace", machine.package, readonly=True))
    if machine.modules:
        shares.append(_share("modules", machine.modules, readonly=True))
    return [
        "qemu-system-x86_64",
        *("-M", "q35", "-accel", f"tcg,thread={spec.threads}", "-cpu", "max"),
        *_clock(spec),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *_memory(spec),
        *_sockets(machine),
        *("-kernel", str(machine.boot_file), "-initrd", str(machine.initramfs)),
        *("-append", kernel_arguments(spec, machine.tsc_khz)),
        *("-drive", f"file={_escaped(machine.image)},if=virtio,format=raw,readonly=on"),
        *(word for share in shares for word in share),
        *_virtio_mem(spec),
    ]


def kernel_arguments(spec: GuestSpec, tsc_khz: int | None) -> str:
    """The kernel command line; what the spec appends comes last, so that it wins."""
    tsc = f" tsc_early_khz={tsc_khz}" if tsc_khz else ""
    clock = f" {CLOCK_ARGUMENT}" if spec.clock == "instructions" else ""
    return f"{KERNEL_ARGUMENTS}{tsc}{clock} {spec.append}".strip()


def cpus_of_nodes(cpus: int, memory: tuple[int, ...]) -> list[list[int]]:
    """CPU numbers per node: spread in runs over the nodes that have memory."""
    with_memory = [nid for nid, size in enumerate(memory) if size]
    nodes: list[list[int]] = [[] for _ in memory]
    for cpu in range(cpus):
        nodes[with_memory[cpu * len(with_memory) // cpus]].append(cpu)
    return nodes


def _clock(spec: GuestSpec) -> list[str]:
    # One instruction is a nanosecond; time jumps to the next timer where all CPUs wait.
    return ["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"] if spec.clock == "instructions" else []


def _memory(spec: GuestSpec) -> list[str]:
    total = f"{sum(spec.memory) // MIB}M"
    if spec.hotplug_bytes:
        # Each device's place is aligned up to 1 GiB by QEMU: a GiB of room for each.
        slots = len(spec.dimms)
        room = (slots + len(spec.virtio_mem) + 1) * GIB
        most = (sum(spec.memory) + spec.hotplug_bytes + room) // MIB
        total += f",slots={slots},maxmem={most}M"
    words = ["-m", total, "-smp", f"{spec.cpus},sockets={spec.cpus}"]
    for nid, cpus in enumerate(cpus_of_nodes(spec.cpus, spec.memory)):
        node = f"node,nodeid={nid}" + "".join(f",cpus={cpu}" for cpu in cpus)
        if spec.memory[nid]:
            size = spec.memory[nid] // MIB
            words += ["-object", f"memory-backend-ram,id=ram{nid},size={size}M"]
            node += f",memdev=ram{nid}"
        words += ["-numa", node]
    return words


def _sockets(machine: Machine) -> list[str]:
    return [
        *("-chardev", f"file,id=console,path={_escaped(machine.console)}"),
        *("-chardev", f"socket,id=control,fd={machine.control_fd}"),
        *("-chardev", f"socket,id=qmp,fd={machine.qmp_fd}"),
        *("-serial", "chardev:console", "-serial", "chardev:control"),
        *("-mon", "chardev=qmp,mode=control"),
    ]


def _share(tag: str, folder: Path, readonly: bool = False, owners: str = "none") -> list[str]:
    # "none": files belong to the user who runs QEMU, root or not.
    access = ",readonly=on" if readonly else ""
    return [
        "-fsdev",
        f"local,id={tag},path={_escaped(folder)},security_model={owners},multidevs=remap{access}",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]


def _virtio_mem(spec: GuestSpec) -> list[str]:
    words = []
    for device in spec.virtio_mem:
        words += [
            "-object",
            f"memory-backend-ram,id=ram-{device.name},size={device.size // MIB}M",
            "-device",
            f"virtio-mem-pci,id={device.name},memdev=ram-{device.name},node={device.nid},"
            f"requested-size={device.plugged // MIB}M",
        ]
    return words


def _escaped(path: Path) -> str:
    # A comma ends an option's value in QEMU's syntax; a doubled one stands for itself.
    return str(path).replace(",", ",,")
