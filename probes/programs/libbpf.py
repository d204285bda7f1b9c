# SPDX-License-Identifier: Apache-2.0
"""What is used of libbpf.so.1, by ctypes: load programs and make maps, and read and write their elements.

Every call that fails raises OSError with the kernel's errno.  Signatures and structures are
those of libbpf 1.0 (tools/lib/bpf/bpf.h); later versions only append members.
"""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

from memtrace.errors import MemtraceError

LIBRARIES = ("libbpf.so.1", "libbcc.so.0")
"""Where its functions are: BCC's library has them too, of its own or through libbpf's."""
_FUNC = 12
"""BTF_KIND_FUNC, include/uapi/linux/btf.h."""
_LOG_BYTES = 1 << 16
_PERF_EVENT = 41
"""BPF_PERF_EVENT, what a program is attached to by bpf_link_create(), include/uapi/linux/bpf.h."""
_LINK_PERF_EVENT, _LINKED_KPROBES = 7, (3, 4)
"""BPF_LINK_TYPE_PERF_EVENT; BPF_PERF_EVENT_KPROBE and BPF_PERF_EVENT_KRETPROBE."""
_KPROBE_MISSED = 48
"""Offset of perf_event.kprobe.missed in struct bpf_link_info, bytes."""


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class _ProgramOptions(ctypes.Structure):
    """struct bpf_prog_load_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_uint32),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_char_p),
    )


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_prog_load": (c_int, (c_int, c_char_p, c_char_p, c_void_p, c_size_t, c_void_p)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_raw_tracepoint_open": (c_int, (c_char_p, c_int)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)),
    "bpf_map_lookup_and_delete_batch": (
        c_int,
        (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
    ),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p)),
    "btf__load_vmlinux_btf": (c_void_p, ()),
    "btf__load_module_btf": (c_void_p, (c_char_p, c_void_p)),
    "btf__find_by_name_kind": (c_int, (c_void_p, c_char_p, c_uint32)),
    "btf__type_by_id": (c_void_p, (c_void_p, c_uint32)),
    "btf__name_by_offset": (c_char_p, (c_void_p, c_uint32)),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
}


class VerifierError(OSError):
    """The kernel refused a program; ``words`` is what its verifier wrote, the reason last."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(code, os.strerror(code))
        self.words = words


class _TestRun(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


@cache
def library() -> ctypes.CDLL:
    """Return libbpf, which prints nothing; raises MemtraceError if it is not installed or too old."""
    reasons = []
    for name in LIBRARIES:
        try:
            loaded = ctypes.CDLL(name, use_errno=True)
            for function, (result, arguments) in _SIGNATURES.items():
                found = getattr(loaded, function)
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            reasons.append(str(error))
            continue
        loaded.libbpf_set_print(None)
        return loaded
    raise MemtraceError(
        f"libbpf 1.0 or newer is needed ({'; '.join(reasons)}): install the package libbpf1 or libbpf"
    )


def create_map(kind: int, name: str, key: int, value: int, entries: int, flags: int, inner: int = 0) -> int:
    """Make a map and return its file descriptor; ``inner`` is that of the map that its elements are like."""
    options = _MapOptions(sz=ctypes.sizeof(_MapOptions), map_flags=flags, inner_map_fd=inner)
    return _checked(
        library().bpf_map_create(kind, name.encode()[:15], key, value, entries, ctypes.byref(options))
    )


def load_program(kind: int, name: str, code: bytes, attach_type: int = 0, target: int = 0) -> int:
    """Load a program and return its file descriptor.

    ``target`` is the BTF id of the kernel function that a fentry or fexit program is for.
    Raises VerifierError.  The verifier's words are asked for only after a refusal, because
    writing them takes longer than the rest.
    """
    options = _ProgramOptions(
        sz=ctypes.sizeof(_ProgramOptions), expected_attach_type=attach_type, attach_btf_id=target, attempts=5
    )

    def load() -> int:
        return int(
            library().bpf_prog_load(
                kind, name.encode()[:15], b"GPL", code, len(code) // 8, ctypes.byref(options)
            )
        )

    fd = load()
    if fd >= 0:
        return fd
    log = ctypes.create_string_buffer(_LOG_BYTES)
    options.log_level, options.log_size, options.log_buf = 1, _LOG_BYTES, ctypes.cast(log, c_char_p)
    again = load()
    if again >= 0:
        return again
    raise VerifierError(-fd, log.value.decode(errors="replace"))


def program_info(fd: int) -> bytes:
    """Return the kernel's struct bpf_prog_info of a program, as long as this kernel's is."""
    info, size = (ctypes.c_uint8 * 256)(), c_uint32(256)
    _checked(library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)))
    return bytes(info[: size.value])


def link_perf_event(event: int, program: int) -> int:
    """Run a program at a perf event; return the link's file descriptor, which keeps both (Linux 5.15 on)."""
    try:
        link = library().bpf_link_create
    except AttributeError:
        # BCC's library has only what BCC itself calls.
        raise OSError(errno.ENOSYS, "the library libbpf.so.1 is missing") from None
    link.restype, link.argtypes = c_int, (c_int, c_int, c_int, c_void_p)
    return _checked(link(program, event, _PERF_EVENT, None))


def link_misses(fd: int) -> int | None:
    """Return how often a linked kprobe was reached and its handler did not run (Linux 6.7 on).

    That is so where another kprobe's handler runs on the CPU, and for a kretprobe also where no
    instance is free.  None: the kernel does not tell, or it is no such link.
    """
    info, size = (ctypes.c_uint8 * 256)(), c_uint32(256)
    _checked(library().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)))
    words = bytes(info[: size.value])
    if len(words) < _KPROBE_MISSED + 8 or words[0] != _LINK_PERF_EVENT or words[16] not in _LINKED_KPROBES:
        return None
    return int.from_bytes(words[_KPROBE_MISSED : _KPROBE_MISSED + 8], "little")


def open_raw_tracepoint(name: str | None, program: int) -> int:
    """Attach a program and return the file descriptor that keeps it attached.

    Without a name it is a fentry or fexit program, which has its target.
    """
    return _checked(library().bpf_raw_tracepoint_open(None if name is None else name.encode(), program))


def run_program(fd: int) -> None:
    """Run a program of a raw tracepoint once, as this task (BPF_PROG_TEST_RUN, Linux 5.10 on)."""
    try:
        run = library().bpf_prog_test_run_opts
    except AttributeError:
        # BCC's library has only what BCC itself calls.
        raise OSError(errno.ENOSYS, "the library libbpf.so.1 is missing") from None
    run.restype, run.argtypes = c_int, (c_int, c_void_p)
    _checked(run(fd, ctypes.byref(_TestRun(sz=ctypes.sizeof(_TestRun)))))


@cache
def vmlinux_btf() -> int:
    """Return the handle of the running kernel's BTF; raises OSError if it has none."""
    btf = library().btf__load_vmlinux_btf()
    if not btf:
        raise OSError(ctypes.get_errno() or errno.ENOENT, "this kernel has no BTF")
    return int(btf)


def function_id(name: str) -> int:
    """Return the BTF id of a function of the core kernel; raises OSError (ENOENT) if it has none."""
    return _checked(library().btf__find_by_name_kind(vmlinux_btf(), name.encode(), _FUNC))


def update(fd: int, key: Any, value: Any) -> None:
    """Set an element; ``key`` and ``value`` are ctypes objects."""
    _checked(library().bpf_map_update_elem(fd, ctypes.byref(key), ctypes.byref(value), 0))


def update_batch(fd: int, keys: Any, values: Any, count: int) -> None:
    """Set ``count`` elements; ``keys`` and ``values`` are ctypes arrays.

    Raises OSError, also where the kernel does not know this for the kind of map (arrays of maps:
    Linux 5.17).
    """
    _checked(
        library().bpf_map_update_batch(
            fd, ctypes.byref(keys), ctypes.byref(values), ctypes.byref(c_uint32(count)), None
        )
    )


def lookup(fd: int, key: Any, value: Any) -> None:
    """Read an element into ``value``; raises OSError (ENOENT) if there is none."""
    _checked(library().bpf_map_lookup_elem(fd, ctypes.byref(key), ctypes.byref(value)))


def lookup_batch(
    fd: int, after: Any, position: Any, keys: Any, values: Any, count: Any, take: bool = False
) -> None:
    """Read up to ``count`` elements, from ``after`` (None: the first); sets ``position`` and ``count``.

    ``take`` removes them from the map.  Raises OSError: ENOENT where these were the last ones.
    """
    places = (
        None if after is None else ctypes.byref(after),
        *map(ctypes.byref, (position, keys, values, count)),
    )
    batch = library().bpf_map_lookup_and_delete_batch if take else library().bpf_map_lookup_batch
    _checked(batch(fd, *places, None))


def _checked(result: int) -> int:
    """Return ``result``; one below 0 raises OSError (from libbpf 1.0 on it is the negative errno)."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return int(result)
