# SPDX-License-Identifier: Apache-2.0
"""The files of the boot kit: what they hold and where they go on a system below a root.

Recording starts in a systemd unit and not in the initramfs, which would need Python,
bcc and LLVM: some 300 MB more to unpack before the root file system is found.  A
shell in the initramfs can save the counters at its start and end, so that the byte
balance has points before the recorder's first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memtrace.probes.machine.sources import Root, exists

MARK = "written by `memtrace boot prepare --install`; `memtrace boot prepare --remove` takes it away"
"""Text in the head of each file of the kit; a file without it is not ours."""

RUN = "/var/lib/memtrace/boot.parquet"
"""Run file that the unit writes."""
EARLY = "/run/memtrace/early"
"""Folder of the initramfs' snapshots; /run outlives the switch to the root file system."""

UNIT, END_UNIT = "memtrace-boot.service", "memtrace-boot-end.service"
_UNITS = "/etc/systemd/system"
_STATE_FILES = ("/proc/uptime", "/proc/vmstat", "/proc/meminfo", "/sys/devices/system/node/node*/meminfo")


@dataclass(frozen=True)
class KitFile:
    """One file, or with ``target`` a symbolic link, by its path on the running system."""

    path: str
    text: str = ""
    executable: bool = False
    target: str | None = None


@dataclass(frozen=True)
class Place:
    """Where the kernel command line of a system is set."""

    name: str
    """grub, grubby, kernel-install, or none."""
    files: tuple[KitFile, ...]
    """Files that --install writes."""
    apply: tuple[str, ...]
    """Commands for the user to run after --install."""
    undo: tuple[str, ...]
    """Commands for the user to run after --remove."""


@dataclass(frozen=True)
class Initramfs:
    """The generator of a system's initramfs, and the kit's files that it includes."""

    name: str
    files: tuple[KitFile, ...]
    apply: tuple[str, ...]


def place(root: Root, line: str) -> Place:
    """Return the boot loader configuration found below ``root``, for the parameters in ``line``."""
    if exists(root, "/etc/default/grub") and _program(root, "update-grub"):
        return Place("grub", (_grub(line),), ("update-grub",), ("update-grub",))
    if _program(root, "grubby"):
        return Place(
            "grubby",
            (),
            (f"grubby --update-kernel=ALL --args='{line}'",),
            (f"grubby --update-kernel=ALL --remove-args='{line}'",),
        )
    if exists(root, "/etc/default/grub") and (make := _mkconfig(root)):
        # Without the distribution's grub.d there is only this file, and it is the administrator's.
        added = f"sed -i 's|^GRUB_CMDLINE_LINUX=\"|&{line} |' /etc/default/grub"
        removed = f"sed -i 's|{line} ||' /etc/default/grub"
        return Place("grub", (), (added, make), (removed, make))
    if exists(root, "/etc/kernel/cmdline"):
        # kernel-install reads only this file.  It is the administrator's, so the kit does not write to it.
        rebuild = 'kernel-install add "$(uname -r)" "/lib/modules/$(uname -r)/vmlinuz"'
        added = f"sed -i '1s|$| {line}|' /etc/kernel/cmdline"
        removed = f"sed -i '1s| {line}||' /etc/kernel/cmdline"
        return Place("kernel-install", (), (added, rebuild), (removed, rebuild))
    return Place("none", (), (), ())


def initramfs(root: Root) -> Initramfs:
    """Return the initramfs generator found below ``root``, with its files for the early snapshots."""
    files: tuple[KitFile, ...]
    if exists(root, "/etc/initramfs-tools") and _program(root, "update-initramfs"):
        scripts = "/etc/initramfs-tools/scripts"
        files = (
            KitFile(f"{scripts}/init-top/memtrace", _initramfs_tools("initramfs-start"), True),
            KitFile(f"{scripts}/init-bottom/memtrace", _initramfs_tools("initramfs-end"), True),
        )
        return Initramfs("initramfs-tools", files, ("update-initramfs -u",))
    if exists(root, "/usr/lib/dracut/modules.d"):
        folder = "/usr/lib/dracut/modules.d/99memtrace"
        files = (
            KitFile(f"{folder}/module-setup.sh", _DRACUT, True),
            KitFile(f"{folder}/memtrace-start.sh", _shell("initramfs-start"), True),
            KitFile(f"{folder}/memtrace-end.sh", _shell("initramfs-end"), True),
        )
        return Initramfs("dracut", files, ("dracut --force",))
    return Initramfs("none", (), ())


def units(root: Root, command: Sequence[str], seconds: int) -> tuple[KitFile, ...]:
    """Return the units that record from early user space to the end of the boot; none without systemd."""
    if not exists(root, "/etc/systemd/system"):
        return ()
    words = " ".join(_quoted(word) for word in command)
    return (
        KitFile(f"{_UNITS}/{UNIT}", _RECORD.format(mark=MARK, command=words, run=RUN, seconds=seconds)),
        KitFile(f"{_UNITS}/{END_UNIT}", _END.format(mark=MARK, unit=UNIT)),
        KitFile(f"{_UNITS}/sysinit.target.wants/{UNIT}", target=f"../{UNIT}"),
        KitFile(f"{_UNITS}/default.target.wants/{END_UNIT}", target=f"../{END_UNIT}"),
    )


def _mkconfig(root: Root) -> str:
    for name in ("grub", "grub2"):
        if _program(root, f"{name}-mkconfig"):
            return f"{name}-mkconfig -o /boot/{name}/grub.cfg"
    return ""


def _program(root: Root, name: str) -> bool:
    return any(exists(root, f"{folder}/{name}") for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"))


def _quoted(word: str) -> str:
    """Quote a word of ExecStart=, where % and $ have a meaning (systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


def _grub(line: str) -> KitFile:
    """Return the file that update-grub of Debian and Ubuntu sources after /etc/default/grub."""
    text = f'# {MARK}\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {line}"\n'
    return KitFile("/etc/default/grub.d/memtrace.cfg", text)


def _snapshot(label: str) -> str:
    return (
        f"mkdir -p {EARLY}\n"
        f"for file in {' '.join(_STATE_FILES)}; do\n"
        '\t[ -r "$file" ] || continue\n'
        '\techo "==> $file <=="\n'
        '\tcat "$file"\n'
        f"done >{EARLY}/{label} 2>/dev/null\n"
    )


def _shell(label: str) -> str:
    return f"#!/bin/sh\n# {MARK}\n{_snapshot(label)}"


def _initramfs_tools(label: str) -> str:
    return (
        f"#!/bin/sh\n# {MARK}\n"
        'case "$1" in\nprereqs)\n\techo ""\n\texit 0\n\t;;\nesac\n'
        f"{_snapshot(label)}exit 0\n"
    )


_DRACUT = f"""#!/bin/bash
# {MARK}
check() {{
	return 0
}}

depends() {{
	return 0
}}

install() {{
	inst_multiple cat mkdir
	inst_hook cmdline 00 "$moddir/memtrace-start.sh"
	inst_hook cleanup 99 "$moddir/memtrace-end.sh"
}}
"""

_RECORD = """# {mark}
[Unit]
Description=Record what memory costs during the boot (memtrace)
Documentation=man:memtrace-boot(1)
DefaultDependencies=no
After=systemd-remount-fs.service
RequiresMountsFor=/var/lib/memtrace /var/tmp
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
NotifyAccess=main
StateDirectory=memtrace
ExecStart={command} record --quiet --force -a -o {run} -d {seconds}
TimeoutStopSec=60

[Install]
WantedBy=sysinit.target
"""

# A quick boot ends before the programs are compiled, so this unit waits for the recorder's status text.
# Nothing waits for either unit (Type=exec), so systemd-analyze reports the same end of the boot without them.
_END = """# {mark}
[Unit]
Description=End of the boot that memtrace records
Documentation=man:memtrace-boot(1)
After=default.target {unit}

[Service]
Type=exec
ExecStart=sh -c 'while systemctl is-active -q {unit} && \\
	[ -z "$$(systemctl show -P StatusText {unit})" ]; \\
	do sleep 1; done; exec systemctl stop --no-block {unit}'

[Install]
WantedBy=default.target
"""
