# SPDX-License-Identifier: Apache-2.0
"""The kernels that guests can boot.  Another one is one more entry of KERNELS, and its series in stock.py.

Each is prepared once and kept in the cache: unpacked or built, with the ELF vmlinux
taken out of its bzImage where that can be started directly, and with its modules.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import acceptance, cache, debian, stock
from memtrace.lab.needs import For, require
from memtrace.lab.run import run_tool
from memtrace.lab.vmlinux import (
    embedded_config,
    has_pvh_entry,
    is_bzimage,
    read_kernel,
    release_of,
    unpack_bzimage,
)

READY_MADE = "MEMTRACE_LAB_KERNEL"
# Of users' own kernels more are kept than of the list's: a series is compared.
OWN_KEPT = 8


@dataclass(frozen=True)
class Kernel:
    """A kernel ready to boot.

    boot_file    what QEMU's -kernel takes: an ELF vmlinux with PVH entry, or a bzImage
    modules_dir  its /lib/modules/RELEASE with modules.dep, None for one without modules
    config       its configuration file, None where the kernel does not tell it
    release      uname -r, "unknown" where the file does not tell it
    """

    name: str
    boot_file: Path
    modules_dir: Path | None
    config: Path | None
    release: str


@dataclass(frozen=True)
class Entry:
    """One kernel of the list, made of the packages that its name is pinned to.

    needs    what the host must have to make it
    build    makes boot/ and perhaps lib/modules/ in an empty folder
    inputs   the project's own files that decide what is built
    """

    name: str
    what: str
    needs: tuple[For, ...]
    build: Callable[[stock.Packages, Path], None]
    inputs: tuple[Path, ...] = ()

    @property
    def kind(self) -> str:
        """Of the cache's entries, those that hold this kernel."""
        return f"kernels/{self.name}"


def debian_image(name: str, what: str) -> Entry:
    """A kernel of Debian's, which is unpacked."""

    def build(packages: stock.Packages, folder: Path) -> None:
        stock.fetch(packages, folder)
        debian.gather_in_boot(folder)

    return Entry(name, what, (For.KERNEL,), build)


def emulated_acceptance(name: str, what: str) -> Entry:
    """A kernel with emulated acceptance, which is built unless one is ready-made."""
    series = name.removeprefix("accept-")

    def build(packages: stock.Packages, folder: Path) -> None:
        acceptance.build(series, packages[0], folder / "boot")

    needs = (For.KERNEL, For.WORKLOAD, For.BUILD)
    return Entry(name, what, needs, build, acceptance.inputs(series))


KERNELS = (
    debian_image("debian-6.1", "Debian 12's kernel"),
    debian_image("debian-6.12", "Debian 12's newer kernel"),
    debian_image("debian-7.3", "Debian's newest kernel, from its backports"),
    emulated_acceptance("accept-6.12", "6.12 with emulated acceptance, runs guest_memfd"),
    emulated_acceptance("accept-7.3", "7.3 with emulated acceptance, runs guest_memfd"),
)


def ready_made(name: str) -> Path | None:
    """The file that $MEMTRACE_LAB_KERNEL names for this kernel, None where it names none.

    NAME=PATH, or several with colons between them; a path alone is accept-6.12's.
    """
    value = os.environ.get(READY_MADE)
    if not value:
        return None
    can_be = [entry.name for entry in KERNELS if entry.inputs]
    files = {}
    for item in re.split(r":(?=[\w.-]+=)", value):
        named = re.fullmatch(r"([\w.-]+)=(.+)", item)
        files[named[1] if named else can_be[0]] = Path(named[2] if named else item)
    wrong = sorted(files.keys() - set(can_be))
    if wrong:
        raise MemtraceError(f"{READY_MADE} can name {' and '.join(can_be)}, not '{wrong[0]}'", 2)
    return files.get(name)


def prepared(entry: Entry, any_version: bool = False) -> Kernel | None:
    """A kernel of the list if it is prepared, in its pinned version or in any."""
    path = ready_made(entry.name)
    if path:
        return _from_file(entry.name, path)
    folder = stock.prepared(entry.kind, entry.name, *entry.inputs)
    if folder is None and any_version:
        folder = cache.newest(entry.kind)
    return _load(entry.name, folder) if folder else None


def _prepare(entry: Entry) -> Kernel:
    path = ready_made(entry.name)
    if path:
        return _from_file(entry.name, path)

    def build(packages: stock.Packages, folder: Path) -> None:
        require(*entry.needs)
        entry.build(packages, folder)
        _finish(folder)

    return _load(entry.name, stock.entry(entry.kind, entry.name, build, *entry.inputs))


def check(name: str) -> None:
    """Raise MemtraceError (exit 2) if no kernel has this name, and no file or folder."""
    if name not in {entry.name for entry in KERNELS} and not Path(name).exists():
        known = ", ".join(entry.name for entry in KERNELS)
        raise MemtraceError(f"'{name}' is neither a kernel of the list ({known}) nor a file", 2)


def prepare(name: str) -> Kernel:
    """A kernel of the list, or the user's own file or folder, ready to boot.

    Raises MemtraceError where the name is neither, or where it cannot be prepared.
    """
    for entry in KERNELS:
        if entry.name == name:
            return _prepare(entry)
    check(name)
    path = Path(name)
    if path.is_dir():
        return _load(name, path)
    return _from_deb(name, path) if path.suffix == ".deb" else _from_file(name, path)


def _from_deb(name: str, deb: Path) -> Kernel:
    def build(folder: Path) -> None:
        require(For.KERNEL)
        debian.unpack_file(deb, folder, keep=True)
        _finish(folder)

    return _load(name, cache.ensure("kernels/own-deb", cache.file_digest(deb)[:20], build, OWN_KEPT))


def _from_file(name: str, path: Path) -> Kernel:
    image = read_kernel(path)

    def build(folder: Path) -> None:
        (folder / "boot").mkdir()
        shutil.copyfile(path, folder / "boot" / "vmlinuz")
        _finish(folder)

    if not is_bzimage(image) and not has_pvh_entry(image):
        raise MemtraceError(f"{path} is a vmlinux without CONFIG_PVH: give the kernel's bzImage")
    return _load(name, cache.ensure("kernels/own", cache.key_of(image), build, OWN_KEPT))


def _finish(folder: Path) -> None:
    """Complete an unpacked or built kernel: vmlinux, config, modules.dep."""
    packed = _boot_file(folder, "vmlinuz")
    image = read_kernel(packed)
    vmlinux = unpack_bzimage(image) if is_bzimage(image) else image
    if vmlinux and has_pvh_entry(vmlinux):
        (folder / "boot" / "vmlinux").write_bytes(vmlinux)
    if vmlinux and not list((folder / "boot").glob("config*")):
        config = embedded_config(vmlinux)
        if config:
            (folder / "boot" / "config").write_text(config)
    modules = _modules(folder)
    if modules:
        base = modules.parents[2]
        run_tool("depmod", "-b", base, modules.name)
    shutil.rmtree(folder / "usr" / "share", ignore_errors=True)


def _load(name: str, folder: Path) -> Kernel:
    """The kernel in a finished folder, or in one that a user has unpacked himself."""
    try:
        boot_file = _boot_file(folder, "vmlinux", "vmlinuz")
    except MemtraceError:
        raise MemtraceError(f"{folder} holds no kernel: no boot/vmlinuz* is in it") from None
    with open(boot_file, "rb") as file:
        head = file.read(1 << 16)
    release = release_of(head if is_bzimage(head) else read_kernel(boot_file))
    modules = _modules(folder)
    if modules and not (modules / "modules.dep").exists():
        raise MemtraceError(f"{modules} has no modules.dep: run 'depmod -b {folder} {modules.name}'")
    config = next(iter(sorted((folder / "boot").glob("config*"))), None)
    return Kernel(name, boot_file, modules, config, release or "unknown")


def _boot_file(folder: Path, *prefixes: str) -> Path:
    for prefix in prefixes:
        found = sorted((folder / "boot").glob(prefix + "*"))
        if found:
            return found[-1]
    raise MemtraceError(f"no kernel image in {folder}")


def _modules(folder: Path) -> Path | None:
    for base in (folder / "lib" / "modules", folder / "usr" / "lib" / "modules"):
        found = sorted(path for path in base.glob("*") if path.is_dir())
        if found:
            return found[-1]
    return None
