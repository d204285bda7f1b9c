# SPDX-License-Identifier: Apache-2.0
"""Where a kernel, its configuration and its modules are in a folder; nothing is written.

The layouts, REL being what `uname -r` prints:

    boot/vmlinuz-REL, boot/config-REL, lib/modules/REL          Debian, Ubuntu, bindeb-pkg
    [usr/]lib/modules/REL/{vmlinuz,config,modules.*,kernel/}    Debian from 6.19 on, Fedora,
                                                                SUSE, Arch, binrpm-pkg

A folder may be the root of such a tree, its boot folder, or its folder lib/modules/REL.
Links are followed only where they stay in the tree.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab.vmlinux import HEAD, is_bzimage, is_elf, open_kernel, read_kernel, release_of

KERNEL_NAME = re.compile(r"(vmlinuz|bzImage|vmlinux)([-_.].*)?")
# Backups, signatures and parts of a build that lie beside a kernel.
NOT_IT = (".old", ".bak", ".orig", ".sig", ".hmac", ".p7s", ".map", ".debug", ".a", ".o", ".lds")
MODULE_BASES = ("lib/modules", "usr/lib/modules")
INDEXES = frozenset({"modules.builtin", "modules.order", "modules.dep"})
SHOWN = 4

Shown = Callable[[Path], str]


@dataclass(frozen=True)
class Layout:
    """The parts of one kernel; None where there is no such part.

    kernel   a bzImage or an ELF vmlinux
    release  `uname -r`, None where the image does not tell it
    config   its configuration file
    modules  its folder lib/modules/REL
    """

    kernel: Path
    release: str | None
    config: Path | None
    modules: Path | None


def find(root: Path, given: str, shown: Shown = str) -> Layout:
    """The one kernel in a folder, and what belongs to it.

    `given` is what the user calls the folder, `shown` what he calls a file in it.
    Raises MemtraceError where there is no kernel, more than one, or one with modules of
    another release only.
    """
    if is_modules_folder(root):
        return _of_modules_folder(root.resolve(), given)
    folders = _module_folders(root)
    kernel = _the_one(_kernels((root / "boot", *folders, root), root), given, shown)
    if kernel is None:
        raise MemtraceError(
            f"{given} holds no kernel: no vmlinuz* is in it, in boot or in lib/modules/RELEASE"
        )
    release = _release(kernel)
    # The boot folder of a tree: its modules are beside it.
    beside = _module_folders(root.resolve().parent) if root.resolve().name == "boot" else []
    modules = _matching([*folders, *beside], release)
    others = [folder for folder in folders if has_modules(folder)]
    if modules is None and others:
        raise MemtraceError(
            f"{given} holds the kernel {release} but the modules of {others[0].name}: "
            f"give those of {release} with it"
        )
    return Layout(kernel, release, _config(kernel, release, modules, root), modules)


def around(kernel: Path) -> Layout:
    """A kernel file with the configuration and the modules that lie around it.

    They belong to it where the file is REL/vmlinuz in a modules folder, or boot/vmlinuz-REL
    with lib/modules/REL beside boot; any other file is taken alone.
    """
    kernel = kernel.resolve()
    release = _release(kernel)
    folder = kernel.parent
    if is_modules_folder(folder):
        return Layout(kernel, release, _config(kernel, release, folder, folder), folder)
    if not release or not kernel.name.endswith(release):
        return Layout(kernel, release, None, None)
    modules = _matching(_module_folders(folder.parent), release) if folder.name == "boot" else None
    return Layout(kernel, release, _config(kernel, release, modules, folder), modules)


def is_modules_folder(folder: Path) -> bool:
    """Whether this is a folder lib/modules/REL with modules or their indexes in it."""
    names = {path.name for path in listed(folder)}
    if names & {"Makefile", "Kconfig", "boot"}:
        return False
    return bool(names & INDEXES) or ("kernel" in names and folder.parent.name == "modules")


def has_modules(folder: Path) -> bool:
    """Whether there are modules in a folder lib/modules/REL, not only indexes and links."""
    return any(path.is_dir() and not path.is_symlink() for path in listed(folder))


def listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is none; MemtraceError without rights."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MemtraceError(f"cannot read the folder {folder}: {error.strerror}") from error


def inside(path: Path, root: Path) -> bool:
    """Whether a path leads to a regular file below the root, all links followed."""
    try:
        return path.is_file() and path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def _of_modules_folder(folder: Path, given: str) -> Layout:
    """A folder lib/modules/REL: the kernel is in it, or in the boot folder of the same tree."""
    release = folder.name
    kernel = _the_one(_kernels([folder], folder), given, str)
    if kernel is None:
        boots = [up / "boot" for up in list(folder.parents)[2:4]]
        named = (boot / f"{name}-{release}" for boot in boots for name in ("vmlinuz", "bzImage", "vmlinux"))
        kernel = next((path for path in named if path.is_file()), None)
    if kernel is None:
        raise MemtraceError(
            f"{given} holds modules but no kernel: copy its bzImage to {folder / 'vmlinuz'}, "
            f"or give the folder that holds boot/vmlinuz-{release} and lib/modules/{release}"
        )
    told = _release(kernel)
    if told and told != release:
        raise MemtraceError(f"{kernel} is the kernel {told}, but {given} holds the modules of {release}")
    return Layout(kernel, release, _config(kernel, release, folder, folder), folder)


def _kernels(folders: Iterable[Path], root: Path) -> list[Path]:
    """The kernels right in these folders: bzImages, and where there are none, vmlinux."""
    packed: dict[Path, Path] = {}
    plain: dict[Path, Path] = {}
    for path in (path for folder in folders for path in listed(folder)):
        if KERNEL_NAME.fullmatch(path.name) and path.suffix not in NOT_IT and inside(path, root):
            with open_kernel(path) as file:
                head = file.read(HEAD)
            if is_bzimage(head):
                packed.setdefault(path.resolve(), path)
            elif is_elf(head):
                plain.setdefault(path.resolve(), path)
    return list((packed or plain).values())


def _the_one(kernels: list[Path], given: str, shown: Shown) -> Path | None:
    """The only kernel; copies of one are one."""
    different: list[Path] = []
    for path in kernels:
        if not any(filecmp.cmp(path, other, shallow=False) for other in different):
            different.append(path)
    if len(different) > 1:
        names = list(dict.fromkeys(map(shown, different)))
        which = " or ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        advice = f"give the path of one, {which}" if len(names) > 1 else "unpack it and give the path of one"
        raise MemtraceError(f"{given} holds {len(different)} kernels: {advice}")
    return different[0] if different else None


def _release(kernel: Path) -> str | None:
    with open_kernel(kernel) as file:
        head = file.read(HEAD)
    return release_of(head if is_bzimage(head) else read_kernel(kernel))


def _module_folders(root: Path) -> list[Path]:
    """Each lib/modules/REL and usr/lib/modules/REL of a tree, those that links lead out of it left out."""
    found: dict[Path, Path] = {}
    top = root.resolve()
    for base in MODULE_BASES:
        for path in listed(root / base):
            if path.is_dir() and path.resolve().is_relative_to(top):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def _matching(folders: Iterable[Path], release: str | None) -> Path | None:
    """The modules of this release; of a kernel that does not tell it, the only ones."""
    found = [path for path in folders if is_modules_folder(path) or has_modules(path)]
    if release is None:
        return found[0] if len(found) == 1 else None
    return next((path for path in found if path.name == release), None)


def _config(kernel: Path, release: str | None, modules: Path | None, root: Path) -> Path | None:
    named = f"config-{release}"
    places = [kernel.parent / named, kernel.parent / "config", root / "boot" / named]
    if modules:
        boots = [up / "boot" / named for up in list(modules.resolve().parents)[2:4]]
        places = [modules / "config", *places, *boots]
    return next((path for path in places if path.is_file() and not path.is_symlink()), None)
