# SPDX-License-Identifier: Apache-2.0
"""The initramfs of a guest: busybox, the modules that mounting needs, one script."""

from __future__ import annotations

import shutil
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import cache, stock
from memtrace.lab.kernels import Kernel
from memtrace.lab.needs import For, require
from memtrace.lab.requirements import BUILT_IN_OR_MODULE, module_name
from memtrace.lab.run import run_tool

SCRIPT = Path(__file__).resolve().parent / "init" / "initramfs.sh"
BUSYBOX = "busybox-static"

# ext4 asks the crypto layer for this by name, which modules.dep does not tell.
FIRST = ("crc32c_generic",)


def prepare(kernel: Kernel) -> Path:
    """The initramfs file for this kernel, from the cache or made."""
    modules = module_files(kernel.modules_dir) if kernel.modules_dir else []
    busybox = _busybox()

    def build(folder: Path) -> None:
        require(For.BOOT)
        root = folder / "root"
        for name in ("bin", "dev", "proc", "root", "modules"):
            (root / name).mkdir(parents=True)
        shutil.copyfile(busybox, root / "bin" / "busybox")
        shutil.copyfile(SCRIPT, root / "init")
        for path in (root / "bin" / "busybox", root / "init"):
            path.chmod(0o755)
        names = [_add_module(module, root / "modules") for module in modules]
        (root / "modules" / "order").write_text("\n".join(names))
        if kernel.modules_dir:
            (root / "modules" / "shared").touch()
        listing = "\n".join(sorted(str(p.relative_to(root)) for p in root.rglob("*"))).encode()
        archive = folder / "initramfs.cpio"
        pack = ("cpio", "-o", "-H", "newc", "--quiet", "--reproducible", "-R", "0:0")
        run_tool(*pack, cwd=root, stdin=listing, stdout=archive)
        shutil.rmtree(root)

    key = cache.key_of(SCRIPT, busybox, "\n".join(map(str, modules)), *modules)
    return cache.ensure(f"initramfs/{kernel.release}", key, build) / "initramfs.cpio"


def module_files(modules_dir: Path) -> list[Path]:
    """The files of the modules that a guest needs to mount its disk, in loading order."""
    depends = _dependencies(modules_dir)
    built_in = {module_name(line) for line in _lines(modules_dir / "modules.builtin")}
    order: list[str] = []

    def add(file: str) -> None:
        for needed in reversed(depends[file]):
            add(needed)
        if file not in order:
            order.append(file)

    by_name = {module_name(file): file for file in depends}
    for name in (*FIRST, *BUILT_IN_OR_MODULE.values()):
        if name in by_name:
            add(by_name[name])
        elif name not in built_in and name not in FIRST:
            option = next(o for o, module in BUILT_IN_OR_MODULE.items() if module == name)
            raise MemtraceError(f"the kernel {modules_dir.name} lacks {option}, which a guest needs")
    return [modules_dir / file for file in order]


def _dependencies(modules_dir: Path) -> dict[str, list[str]]:
    pairs = (line.split(":", 1) for line in _lines(modules_dir / "modules.dep"))
    return {file: needed.split() for file, needed in pairs}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise MemtraceError(f"cannot read {path}: {error.strerror}; run depmod for this kernel") from error


def _add_module(source: Path, folder: Path) -> str:
    """Unpacked here rather than in the guest, where it costs emulated time."""
    unpackers = {".xz": ("xz", "-dc"), ".zst": ("zstd", "-dcq"), ".gz": ("gzip", "-dc")}
    target = folder / (module_name(source.name) + ".ko")
    if source.suffix in unpackers:
        run_tool(*unpackers[source.suffix], source, stdout=target)
    else:
        shutil.copyfile(source, target)
    return target.name


def _busybox() -> Path:
    """Any version serves, so one that was fetched once is not looked up again."""

    def build(packages: stock.Packages, folder: Path) -> None:
        require(For.KERNEL)
        stock.fetch(packages, folder)
        # In usr/bin from Debian 13 on.
        found = next(path for path in folder.rglob("busybox") if path.is_file() and path.parent.name == "bin")
        shutil.move(found, folder / "busybox")
        for rest in ("bin", "usr", "etc"):
            shutil.rmtree(folder / rest, ignore_errors=True)

    return (cache.newest(BUSYBOX) or stock.entry(BUSYBOX, BUSYBOX, build)) / "busybox"
