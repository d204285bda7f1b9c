# SPDX-License-Identifier: Apache-2.0
"""The kernel of a folder that a kernel is built in, with or without O=.

What is booted is arch/x86/boot/bzImage; modules that are built (modules.order names them)
are installed by the tree's own `make modules_install`, which knows how they are to be
signed and packed, into another folder.  The tree itself is not written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab.layout import Layout, inside, listed
from memtrace.lab.needs import require_tools
from memtrace.lab.run import run_tool
from memtrace.lab.vmlinux import HEAD, is_bzimage, open_kernel, release_of

BZIMAGE = Path("arch/x86/boot/bzImage")
RELEASE = Path("include/config/kernel.release")
BUILD = "make -j$(nproc)"


@dataclass(frozen=True)
class BuildTree:
    """A built tree; `modules` are the paths of its .ko files, in modules.order's order."""

    folder: Path
    kernel: Path
    release: str
    config: Path | None
    modules: tuple[Path, ...]

    @property
    def layout(self) -> Layout:
        """As a folder that holds no installed modules."""
        return Layout(self.kernel, self.release, self.config, None)

    def install_modules(self, target: Path) -> None:
        """Install the modules below target/lib/modules, without their debugging information."""
        require_tools("make")
        run_tool(
            "make",
            "-s",
            "-C",
            self.folder.resolve(),
            "modules_install",
            f"INSTALL_MOD_PATH={target}",
            "INSTALL_MOD_STRIP=1",
            "DEPMOD=true",
            # The caller's own build folder and make's flags are not this tree's.
            env={"KBUILD_OUTPUT": "", "MAKEFLAGS": ""},
        )


def is_build_tree(folder: Path) -> bool:
    """Whether a kernel is, or could be, built in this folder."""
    names = {path.name for path in listed(folder)}
    source = {"Kconfig", "Makefile", "Kbuild"} <= names
    return source or ("Makefile" in names and (folder / "arch" / "x86").is_dir())


def read_tree(folder: Path, given: str) -> BuildTree:
    """What is built in the tree; MemtraceError where there is no kernel, or parts do not match."""
    kernel = folder / BZIMAGE
    if not inside(kernel, folder):
        raise MemtraceError(
            f"{given} is a kernel tree without {BZIMAGE}: run '{BUILD}' in it, "
            "or give the folder that O= named"
        )
    with open_kernel(kernel) as file:
        head = file.read(HEAD)
    if not is_bzimage(head):
        raise MemtraceError(f"{kernel} is not an x86-64 kernel: build the tree again for x86-64")
    modules = _modules(folder, given)
    told = release_of(head)
    release = _text(folder / RELEASE).strip() or told or "unknown"
    if modules and told and told != release:
        raise MemtraceError(
            f"{given} has the bzImage of {told} but the modules of {release}: run '{BUILD}' in it again"
        )
    config = folder / ".config"
    return BuildTree(folder, kernel, told or release, config if inside(config, folder) else None, modules)


def _modules(folder: Path, given: str) -> tuple[Path, ...]:
    # Up to 6.1 the list has kernel/….ko, later ….o, of what is built as ….ko.
    lines = _text(folder / "modules.order").split()
    names = [Path(line.removeprefix("kernel/")).with_suffix(".ko") for line in lines]
    built = tuple(folder / name for name in names)
    absent = [path for path in built if not path.is_file()]
    if absent:
        raise MemtraceError(
            f"{given} lacks {absent[0].relative_to(folder)}, a module that it names: run '{BUILD}'"
        )
    return built


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise MemtraceError(f"cannot read {path}: {error.strerror}") from error
