# SPDX-License-Identifier: Apache-2.0
"""The versions of Debian's packages that the lab uses, so that an update changes no result.

The list is `pins.txt`: KERNEL PACKAGE VERSION SHA256 in a line.  A kernel in several packages
has a line for each.  Of an installed memtrace, whose list is not the user's to change, a file
of the same form in the user's configuration folder goes before it, kernel by kernel.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab.debian import Package

Pins = dict[str, tuple[Package, ...]]
LIST = Path(__file__).resolve().with_name("pins.txt")
HEADER = """\
# The versions that `memtrace lab` uses: KERNEL PACKAGE VERSION SHA256
# `memtrace lab kernels --update-pins` sets each kernel to the newest version of its series.
"""


def user_file() -> Path:
    """`$XDG_CONFIG_HOME/memtrace/lab-pins.txt`, by default in `~/.config`; need not exist."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".config") / "memtrace" / "lab-pins.txt"


def own_file() -> Path:
    """The file that moving a pin changes: the list itself in a clone, else the user's."""
    in_clone = (LIST.parents[1] / ".git").exists()
    return LIST if in_clone else user_file()


def read() -> Pins:
    """The packages of each kernel, its main one first."""
    pins = _read(LIST)
    if own_file() != LIST and own_file().exists():
        pins.update(_read(own_file()))
    return pins


def move(pins: Pins) -> None:
    """Make these the pins; of the user's file only what differs from the list is in it."""
    path = own_file()
    if path != LIST:
        listed = _read(LIST)
        pins = {kernel: packages for kernel, packages in pins.items() if listed.get(kernel) != packages}
    write(pins, path)


def write(pins: Mapping[str, tuple[Package, ...]], path: Path) -> None:
    """Replace the file by these pins, at once or not at all."""
    lines = [
        f"{kernel} {package.name} {package.version} {package.sha256}\n"
        for kernel, packages in pins.items()
        for package in packages
    ]
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(HEADER + "".join(lines))
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise MemtraceError(f"cannot write {path}: {error.strerror or error}") from error


def parse(text: str, name: str) -> Pins:
    """The pins in a file's text; MemtraceError names the line that is none."""
    pins: Pins = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 4:
            raise MemtraceError(f"line {number} of {name} is not KERNEL PACKAGE VERSION SHA256")
        pins[words[0]] = (*pins.get(words[0], ()), Package(*words[1:]))
    return pins


def _read(path: Path) -> Pins:
    try:
        return parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise MemtraceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
