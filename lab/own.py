# SPDX-License-Identifier: Apache-2.0
"""Kernels that users give by path: files, folders, packages and build trees.

All of them go through the cache, where what a boot needs is made; a user's folder is only
read.  An entry's key is of the content of kernel, configuration and packages, and of size
and time of each module, so a kernel that was built again is another entry.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import build_tree, cache, layout, packages
from memtrace.lab.layout import KERNEL_NAME, Layout
from memtrace.lab.needs import require_tools
from memtrace.lab.ready import Kernel, Source, finish, load
from memtrace.lab.vmlinux import check_startable, read_kernel

# Of users' own kernels more are kept than of the list's: a series is compared.
KEPT = 8
SHELF = "kernels/own"
KERNEL_ITSELF = ("vmlinuz", "vmlinux", "bzImage", "System.map", "initrd", "initramfs")


def paths_of(name: str) -> tuple[Path, ...]:
    """The files or folders that a KERNEL names: a path, paths with commas between, or a glob.

    Empty where one of them does not exist.
    """
    if not name:
        return ()
    if os.path.lexists(name):
        return (Path(name),)
    paths: list[Path] = []
    for word in name.split(","):
        path = Path(word).expanduser()
        top = Path(path.anchor)
        found = [path] if os.path.lexists(path) else sorted(top.glob(str(path.relative_to(top))))
        if not word or not found:
            return ()
        paths += found
    return tuple(dict.fromkeys(paths))


def prepare(name: str, paths: tuple[Path, ...]) -> Kernel:
    """The kernel at the user's paths, ready to boot; `name` is what he typed.

    Raises MemtraceError where they hold none, more than one, or one that cannot be a guest.
    """
    if len(paths) > 1 or (packages.is_package(paths[0]) and not paths[0].is_dir()):
        strange = [path for path in paths if not packages.is_package(path)]
        if strange:
            raise MemtraceError(f"{strange[0]} is no package: of other kernels give one path", 2)
        return _from_packages(name, paths, named=True)
    path = paths[0]
    if not path.is_dir():
        return from_file(name, path)
    if build_tree.is_build_tree(path):
        return _from_tree(name, path)
    found = packages.in_folder(path)
    if found and not any((path / part).is_dir() for part in ("boot", "lib", "usr")):
        return _from_packages(name, found, named=False)
    layout_found = layout.find(path, name)
    rest = f"put its whole lib/modules/{layout_found.release} into the folder"
    return _from_layout(name, layout_found, rest)


def from_file(name: str, path: Path) -> Kernel:
    """The kernel in one file, with what lies around it."""
    check_startable(read_kernel(path), path)
    found = layout.around(path)
    rest = "give the folder that holds kernel and modules, or the tree that it was built in"
    return _from_layout(name, found, rest)


def _from_layout(name: str, found: Layout, rest: str) -> Kernel:
    modules = list(_files(found.modules)) if found.modules else []

    def build(folder: Path) -> None:
        _copy_kernel(found, folder)
        if found.modules:
            require_tools("depmod")
            target = folder / "lib" / "modules" / (found.release or found.modules.name)
            for path in modules:
                to = target / path.relative_to(found.modules)
                to.parent.mkdir(parents=True, exist_ok=True)
                _copy(path, to)
        finish(folder, Source(name, lambda path: str(found.kernel), rest))

    key = cache.key_of(*_contents(found), *_states(modules, found.modules))
    return load(name, cache.ensure(SHELF, key, build, KEPT))


def _from_tree(name: str, folder: Path) -> Kernel:
    tree = build_tree.read_tree(folder, name)

    def build(target: Path) -> None:
        if tree.modules:
            require_tools("make", "depmod")
            tree.install_modules(target)
        _copy_kernel(tree.layout, target)
        rest = f"run '{build_tree.BUILD}' in it"
        finish(target, Source(name, lambda path: str(tree.kernel), rest))

    indexes = [path for path in layout.listed(folder) if path.name.startswith("modules.")]
    states = _states((*tree.modules, *indexes), folder)
    key = cache.key_of("tree", *_contents(tree.layout), *states)
    return load(name, cache.ensure(SHELF, key, build, KEPT))


def _from_packages(name: str, paths: Sequence[Path], named: bool) -> Kernel:
    parts = packages.for_guests([packages.read(path) for path in paths], named)
    given = name if len(paths) == 1 or not named else "what was given"
    digests = [cache.file_digest(part.path) for part in parts]

    def build(folder: Path) -> None:
        require_tools("depmod")
        origin = packages.unpack(parts, folder)
        rest = f"give {packages.wanting(parts)} too"
        if not any(KERNEL_NAME.fullmatch(Path(file).name) for file in origin):
            raise MemtraceError(f"{given} holds no kernel: {rest}")

        def shown(path: Path) -> str:
            return str(origin.get(str(path.relative_to(folder)), given))

        finish(folder, Source(given, shown, rest, whole=True))

    return load(name, cache.ensure(SHELF, cache.key_of("packages", *digests), build, KEPT))


def _contents(found: Layout) -> Iterator[str | bytes]:
    """What the key of a kernel is made of, without its modules."""
    yield read_kernel(found.kernel)
    try:
        yield found.config.read_bytes() if found.config else ""
    except OSError as error:
        raise MemtraceError(f"cannot read {found.config}: {error.strerror}") from error


def _states(files: Iterable[Path], folder: Path | None) -> Iterator[str]:
    for path in files:
        status = path.stat()
        yield f"{path.relative_to(folder or path)} {status.st_size} {status.st_mtime_ns}"


def _files(modules: Path) -> Iterator[Path]:
    """The regular files of lib/modules/REL that are copied, links never followed."""

    def refuse(error: OSError) -> None:
        raise MemtraceError(f"cannot read {error.filename}: {error.strerror}") from error

    for folder, folders, names in os.walk(modules, onerror=refuse):
        folders.sort()
        top = Path(folder) == modules
        for path in (Path(folder) / name for name in sorted(names)):
            if not (top and path.name.startswith(KERNEL_ITSELF)) and path.is_file() and not path.is_symlink():
                yield path


def _copy_kernel(found: Layout, folder: Path) -> None:
    (folder / "boot").mkdir()
    _copy(found.kernel, folder / "boot" / "vmlinuz")
    if found.config:
        _copy(found.config, folder / "boot" / "config")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except PermissionError as error:
        raise MemtraceError(f"cannot read {source}: {error.strerror}") from error
