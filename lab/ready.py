# SPDX-License-Identifier: Apache-2.0
"""A kernel ready to boot, and how a folder of the cache becomes one.

A finished folder has boot/vmlinuz, boot/vmlinux where that can be started at once,
boot/config* where it is known, and lib/modules/REL with modules.dep where there are modules.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import layout
from memtrace.lab.layout import Layout, Shown
from memtrace.lab.requirements import missing_modules, read_config
from memtrace.lab.run import ToolFailed, run_tool
from memtrace.lab.vmlinux import (
    HEAD,
    check_startable,
    embedded_config,
    has_pvh_entry,
    is_bzimage,
    read_kernel,
    release_of,
    unpack_bzimage,
)


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
class Source:
    """What a kernel comes from, for messages.

    given    what the user calls it
    shown    what he calls a file of it
    rest     what to do where parts of it are missing
    whole    whether a configuration must be with it
    """

    given: str
    shown: Shown = str
    rest: str = "give what holds all of it"
    whole: bool = False


def finish(folder: Path, source: Source | None = None) -> None:
    """Complete an unpacked or built kernel in a folder of the cache.

    Raises MemtraceError, which names the source, where the folder holds no kernel, more
    than one, or one that lacks a part which a guest needs.
    """
    source = source or Source("the package")
    _unmerge(folder)
    found = layout.find(folder, source.given, source.shown)
    boot = folder / "boot"
    boot.mkdir(exist_ok=True)
    image = read_kernel(found.kernel)
    vmlinux = _unpacked(image, source.shown(found.kernel))
    check_startable(image, source.shown(found.kernel))
    if found.config:
        found.config.replace(boot / "config")
    found.kernel.replace(boot / "vmlinuz")
    if vmlinux and has_pvh_entry(vmlinux):
        (boot / "vmlinux").write_bytes(vmlinux)
    embedded = embedded_config(vmlinux) if vmlinux else None
    if embedded:
        (boot / "config").write_text(embedded)
    if found.modules:
        _index_modules(folder, found.modules)
    _check_parts(boot / "config", found, source)


def load(name: str, folder: Path) -> Kernel:
    """The kernel in a finished folder."""
    boot_file = next(path for path in _of_boot(folder, "vmlinux", "vmlinuz"))
    packed = next(path for path in _of_boot(folder, "vmlinuz", "vmlinux"))
    with open(packed, "rb") as file:
        head = file.read(HEAD)
    release = release_of(head if is_bzimage(head) else read_kernel(packed))
    modules = layout.listed(folder / "lib" / "modules")
    config = next(iter(_of_boot(folder, "config")), None)
    return Kernel(name, boot_file, modules[-1] if modules else None, config, release or "unknown")


def _unpacked(image: bytes, shown: str) -> bytes | None:
    try:
        return unpack_bzimage(image) if is_bzimage(image) else image
    except ToolFailed as error:
        raise MemtraceError(f"{shown} is damaged ({error}): copy or build it again") from error


def _of_boot(folder: Path, *prefixes: str) -> list[Path]:
    return [path for prefix in prefixes for path in sorted((folder / "boot").glob(prefix + "*"))]


def _unmerge(folder: Path) -> None:
    """Move usr/lib/modules to lib/modules, and drop what else a package had in usr."""
    merged = folder / "usr" / "lib" / "modules"
    for path in layout.listed(merged):
        (folder / "lib" / "modules").mkdir(parents=True, exist_ok=True)
        path.rename(folder / "lib" / "modules" / path.name)
    shutil.rmtree(folder / "usr", ignore_errors=True)


def _index_modules(folder: Path, modules: Path) -> None:
    """Have depmod write modules.dep, and drop the modules of other kernels."""
    for other in layout.listed(modules.parent):
        if other != modules:
            shutil.rmtree(other)
    # `build`, `source` and the like lead out of the cache.
    for path in modules.rglob("*"):
        if path.is_symlink():
            path.unlink()
    # Of some distributions depmod looks into lib/modules below its base, of others into usr/lib/modules.
    usr = folder / "usr"
    usr.mkdir()
    (usr / "lib").symlink_to("../lib")
    try:
        run_tool("depmod", "-b", folder, modules.name)
    finally:
        shutil.rmtree(usr)


def _check_parts(config: Path, found: Layout, source: Source) -> None:
    release = found.release or "unknown"
    if source.whole and not config.exists():
        raise MemtraceError(f"{source.given} lacks the configuration of the kernel {release}: {source.rest}")
    if found.modules and not (found.modules / "modules.builtin").exists():
        raise MemtraceError(f"{source.given} lacks modules.builtin of the kernel {release}: {source.rest}")
    if config.exists():
        files = found.modules.rglob("*.ko*") if found.modules else ()
        lacking = missing_modules(read_config(config), (path.name for path in files))
        if lacking:
            raise MemtraceError(
                f"{source.given} lacks modules of the kernel {release} that a guest needs "
                f"({', '.join(lacking)}): {source.rest}"
            )
