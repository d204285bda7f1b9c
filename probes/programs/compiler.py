# SPDX-License-Identifier: Apache-2.0
"""Compiles BPF C with BCC, and takes from it what can be loaded elsewhere.

BCC makes the maps as it compiles and writes their file descriptors into the code, where they
are found again.  A value that the loader gives is compiled as a number that no source has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.abc import Traversable
from importlib.resources import files
from pathlib import Path
from typing import Any

from memtrace.errors import MemtraceError
from memtrace.probes.machine.privileges import require_bcc
from memtrace.probes.programs.compiled import (
    INSTRUCTION,
    LD_IMM64,
    PSEUDO_MAP_FD,
    Compiled,
    MapSpec,
    Program,
    Slot,
)

_PROBES = files("memtrace.probes")
"""Where the C is: a folder, or a place in a bundle."""
_STUB_HEADERS = _PROBES / "bpf" / "stub"
# BCC optimises clang's output itself (BPFModule::run_pass_manager): doing it twice only takes time.
_FLAGS = ("-w", "-Xclang", "-disable-llvm-passes")
_HEADERS = ("common.h", "pidns.h", "filters.h", "aggregate.h", "tasks.h", "emit.h", "nest.h", "call.h")
_MARK = 0x6D656D7472610000
"""A value is compiled as this number plus its index: "memtra" in ASCII."""
_MAP_OF_MAPS = re.compile(r'BPF_TABLE\("array_of_maps\$(\w+)", \w+, \w+, (\w+),')
_KFUNC = re.compile(r"k(ret)?func__(?:vmlinux__)?(?=\w)")
"""What BCC's versions put before the name of a fentry (fexit) program."""
_RESULTS = {
    "bpf_table_name": ctypes.c_char_p,
    "bpf_table_fd_id": ctypes.c_int,
    "bpf_function_name": ctypes.c_char_p,
    "bpf_function_start_id": ctypes.c_void_p,
    "bpf_function_size_id": ctypes.c_size_t,
}
_BEGINNING = """#include <uapi/linux/ptrace.h>
#define MT_FENTRY(name, ...) KFUNC_PROBE(name, __VA_ARGS__)
#define MT_FEXIT(name, ...) KRETFUNC_PROBE(name, __VA_ARGS__)
#define MT_VALUE(mark) ({ long long mt_v; asm("%0 = " #mark " ll" : "=r"(mt_v)); mt_v; })
"""


def source(names: tuple[str, ...], declarations: str) -> str:
    """Return the module's C: ``declarations``, the shared headers, each file's programs.

    A name in ``names`` is like ``topics/alloc``.
    """
    files = [*(f"bpf/{name}" for name in _HEADERS), *(f"{name}.bpf.c" for name in names)]
    return "\n".join([_BEGINNING, declarations, *((_PROBES / name).read_text() for name in files)])


@cache
def settings() -> tuple[str, ...]:
    """Return what the code depends on besides its source and macros: flags, and the kernel's stub headers."""
    return (*_FLAGS, *_headers(_STUB_HEADERS))


def _headers(folder: Traversable) -> Iterator[str]:
    """Yield the text of each header below a folder, in the order of their paths."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _headers(entry)
        elif entry.name.endswith(".h"):
            yield entry.read_text()


def compiled(
    text: str, macros: Mapping[str, str], values: tuple[str, ...], digest: str, made_for: str = ""
) -> Compiled:
    """Compile ``text`` with ``macros``, and each name in ``values`` for a value that the loader gives.

    Raises MemtraceError with the compiler's error, or with what is missing to compile.
    """
    if not isinstance(_STUB_HEADERS, Path):
        raise MemtraceError(
            "this bundle has no programs for these events on this kernel, and can't compile any: "
            "make one where they are kept (memtrace programs build)"
        )
    require_bcc()
    from bcc import BPF, __version__

    class Quiet(BPF):  # type: ignore[misc]
        def _trace_autoload(self) -> None:
            """Attach nothing by name."""

    marks = {name: f"MT_VALUE({_MARK + place:#x})" for place, name in enumerate(values)}
    flags = [*_FLAGS, *(f"-D{name}={value}" for name, value in sorted({**macros, **marks}.items()))]
    with _environment("BCC_KERNEL_SOURCE", str(_STUB_HEADERS)), _captured_stderr() as words:
        try:
            bpf: Any = Quiet(text=text.encode(), cflags=flags)
        except Exception as error:  # BCC raises no other
            raise MemtraceError(
                f"the BPF programs did not compile ({_complaint(words()) or error}): "
                "please report this with the output of `memtrace doctor`"
            ) from error
    try:
        maps, places = _maps(bpf, text)
        programs = tuple(_program(name, code, places, len(values)) for name, code in _functions(bpf))
    finally:
        bpf.cleanup()
    return Compiled(digest, f"BCC {__version__}", made_for, values, maps, programs)


def _maps(bpf: Any, text: str) -> tuple[tuple[MapSpec, ...], dict[int, int]]:
    """Return the maps, and the index of each by the file descriptor that BCC has for it."""
    lib = _library()
    specs: list[MapSpec] = []
    places: dict[int, int] = {}
    inner = {outer: like for like, outer in _MAP_OF_MAPS.findall(text)}
    for number in range(lib.bpf_num_tables(bpf.module)):
        fd = lib.bpf_table_fd_id(bpf.module, number)
        info = _fdinfo(fd)
        name = lib.bpf_table_name(bpf.module, number).decode()
        places[fd] = len(specs)
        specs.append(
            MapSpec(
                name,
                info["map_type"],
                info["key_size"],
                info["value_size"],
                info["max_entries"],
                info["map_flags"],
                inner.get(name, ""),
            )
        )
    return tuple(specs), places


def _fdinfo(fd: int) -> dict[str, int]:
    """Return what the kernel says of a map (kernel/bpf/syscall.c: bpf_map_show_fdinfo)."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if line.startswith(("map_", "key_", "value_", "max_")))
    return {name: int(value, 0) for name, _, value in pairs}


def _functions(bpf: Any) -> Iterator[tuple[str, bytes]]:
    lib = _library()
    for number in range(lib.bpf_num_functions(bpf.module)):
        start, size = (
            function(bpf.module, number) for function in (lib.bpf_function_start_id, lib.bpf_function_size_id)
        )
        yield _plain(lib.bpf_function_name(bpf.module, number).decode()), ctypes.string_at(start, size)


def _plain(name: str) -> str:
    """Return a program's name, with _fentry or _fexit at its end instead of what BCC puts before it."""
    found = _KFUNC.match(name)
    if found is None:
        return name
    return f"{name[found.end() :]}_{'fexit' if found[1] else 'fentry'}"


def _library() -> Any:
    """Return libbcc, with the signatures that its Python part leaves out (src/cc/bcc_common.h)."""
    from bcc import lib

    for name, result in _RESULTS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, [ctypes.c_void_p, ctypes.c_size_t]
    return lib


def _program(name: str, code: bytes, places: dict[int, int], values: int) -> Program:
    """Return a program whose references are found and blanked."""
    maps, given, clean, after_first = [], [], bytearray(code), False
    for at in range(len(code) // INSTRUCTION.size):
        if after_first:
            after_first = False
            continue
        opcode, registers, _, low = INSTRUCTION.unpack_from(code, at * INSTRUCTION.size)
        after_first = opcode == LD_IMM64
        if not after_first:
            continue
        high = INSTRUCTION.unpack_from(code, (at + 1) * INSTRUCTION.size)[3]
        number = (low & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32
        if registers >> 4 == PSEUDO_MAP_FD:
            maps.append(Slot(at, places[low]))
        elif _MARK <= number < _MARK + values:
            given.append(Slot(at, number - _MARK))
        else:
            continue
        for part in (at, at + 1):
            clean[part * INSTRUCTION.size + 4 : (part + 1) * INSTRUCTION.size] = bytes(4)
    return Program(name, clean.hex(), tuple(maps), tuple(given))


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Take what the compiler writes to stderr, instead of showing it; yields a function that returns it."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:

        def written() -> str:
            sink.seek(0)
            return sink.read().decode(errors="replace")

        os.dup2(sink.fileno(), 2)
        try:
            yield written
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _complaint(words: str) -> str:
    """Return the first error of a compiler, or else its last line; "" if it wrote nothing."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return next((line for line in lines if " error: " in line), (lines or [""])[-1])


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
