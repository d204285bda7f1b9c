# SPDX-License-Identifier: Apache-2.0
"""Call sites: in made-up code, and in the text of real kernels' functions."""

import struct
from pathlib import Path

import pytest

from memtrace.probes.sites.code import (
    INLINED,
    CallSite,
    find_calls,
    find_clears,
    goes_to,
    read_text,
    thunk_in,
)
from memtrace.probes.sites.symbols import Symbol, SymbolTable

DATA = Path(__file__).parents[1] / "data"
BASE = 0xFFFFFFFF81001000
TARGET = 0xFFFFFFFF82000000


def call(at: int, target: int) -> bytes:
    return b"\xe8" + struct.pack("<i", target - (BASE + at + 5))


def test_a_call_is_found_at_its_offset() -> None:
    code = b"\x90" * 3 + call(3, TARGET) + b"\xc3"
    symbol = Symbol("caller", BASE, BASE + len(code))
    assert find_calls(code, symbol, {TARGET: "clear_page_erms"}) == (
        CallSite("caller", 3, "clear_page_erms"),
    )


def test_a_function_that_ends_in_a_jump_goes_there_too() -> None:
    jump = b"\xe9" + call(3, TARGET)[1:]
    code = b"\x90" * 3 + jump + b"\x90" * 4
    symbol = Symbol("caller", BASE, BASE + len(code))
    assert goes_to(code, symbol, TARGET) and goes_to(b"\x90" * 3 + call(3, TARGET), symbol, TARGET)
    assert not goes_to(code, symbol, TARGET + 1)
    assert find_calls(code, symbol, {TARGET: "x"}) == ()


def test_calls_elsewhere_and_cut_off_calls_are_not() -> None:
    code = call(0, TARGET + 1) + b"\xe8\xe8\xe8" + call(8, TARGET)[:4]
    assert find_calls(code, Symbol("caller", BASE, BASE + len(code)), {TARGET: "clear_page_erms"}) == ()


DEPTH = bytes.fromhex("6548c13d80f2bf7e05")
"""sarq $5, %gs:pcpu_hot+16(%rip), as Linux 6.12 writes it before a function."""
OLDER = bytes.fromhex("6548c13c2590a8020005")
"""The same by absolute address, before 6.8."""
COUNTED = bytes.fromhex("6548ff0510a1bf7e")
"""incq %gs:__x86_call_count(%rip), behind it with CONFIG_CALL_THUNKS_DEBUG."""


@pytest.mark.parametrize("thunk", [DEPTH, OLDER, DEPTH + COUNTED])
def test_a_call_of_the_thunk_before_a_function_is_one_of_the_function(thunk: bytes) -> None:
    """retbleed=stuff, arch/x86/kernel/callthunks.c: the thunk runs on into the function."""
    at = thunk_in(b"\x90" * (32 - len(thunk)) + thunk, TARGET)
    assert at == TARGET - len(thunk)
    code = call(0, TARGET - len(thunk)) + call(5, TARGET - len(thunk) - 1)
    symbol = Symbol("caller", BASE, BASE + len(code))
    assert find_calls(code, symbol, {at: "post_alloc_hook"}) == (CallSite("caller", 0, "post_alloc_hook"),)


@pytest.mark.parametrize(
    ("padding", "length"),
    [
        # Before clear_page_erms, post_alloc_hook and clear_page_rep of Debian's 6.12.117 as it ran with
        # retbleed=stuff on an Intel CPU; nothing calls the last there.
        ("38488d7f4075d990e9d39301000f1f00909090909090909" + "06548c13d408b357e05", 9),
        ("65ff05117fc77eeb840f1f440000eb91909090909090909" + "06548c13d007fc77e05", 9),
        ("0100662e0f1f8400000000000f1f4000" + "90" * 16, None),
    ],
)
def test_thunks_that_a_kernel_wrote_are_found(padding: str, length: int | None) -> None:
    found = thunk_in(bytes.fromhex(padding), TARGET)
    assert found == (None if length is None else TARGET - length)


@pytest.mark.parametrize("padding", [b"\x90" * 32, DEPTH + b"\x90", DEPTH[1:], b"\xcc" * 16, b""])
def test_padding_that_does_not_run_into_the_function_as_a_thunk_is_none(padding: bytes) -> None:
    assert thunk_in(padding, TARGET) is None


@pytest.mark.parametrize(
    ("kernel", "calls"),
    [
        # Both offsets were attached and counted page for page in that kernel.
        ("debian-6.1", {"clear_page_erms": [0xE1F]}),
        ("debian-6.12", {"clear_page_erms": [0x14A5]}),
    ],
)
def test_post_alloc_hook_is_inlined_on_debian_and_calls_clear_page(
    kernel: str, calls: dict[str, list[int]]
) -> None:
    symbols = SymbolTable((DATA / kernel / "kallsyms").read_bytes())
    caller = symbols.one("get_page_from_freelist")
    assert caller is not None
    names = ("clear_page_erms", "clear_page_rep", "clear_page_orig", "post_alloc_hook")
    targets = {s.address: s.name for name in names if (s := symbols.one(name))}
    found: dict[str, list[int]] = {}
    for site in find_calls((DATA / kernel / "get_page_from_freelist.text").read_bytes(), caller, targets):
        found.setdefault(site.target, []).append(site.offset)
    assert found == calls


@pytest.mark.parametrize(
    ("clear", "length"),
    [("f3aa0f1f440000", 2), ("48c1e903f348ab", 7)],
)
def test_inlined_clear_pages_is_found_with_where_it_ends(clear: str, length: int) -> None:
    # A plain rep stosb of some memset() is none.
    text = bytes.fromhex("f3aa90") + bytes.fromhex(clear) + b"\xc3" + bytes.fromhex(clear)
    symbol = Symbol("caller", BASE, BASE + len(text))
    assert find_clears(text, symbol) == (
        CallSite("caller", 3, INLINED, length),
        CallSite("caller", 11, INLINED, length),
    )


def test_inlined_clear_pages_in_text_that_ran() -> None:
    symbol = SymbolTable((DATA / "accept-7.3" / "kallsyms").read_bytes()).one("shmem_get_folio_gfp")
    assert symbol is not None
    text = (DATA / "accept-7.3" / "shmem_get_folio_gfp.text").read_bytes()
    assert [(site.offset, site.length) for site in find_clears(text, symbol)] == [(0x33C, 2)]


def test_an_unreadable_or_foreign_core_gives_nothing(tmp_path: Path) -> None:
    symbol = Symbol("f", BASE, BASE + 16)
    assert read_text(symbol, tmp_path / "absent") is None
    (tmp_path / "text").write_bytes(b"not an ELF file" * 10)
    assert read_text(symbol, tmp_path / "text") is None
