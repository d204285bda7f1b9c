# SPDX-License-Identifier: Apache-2.0
"""Symbols: exact names, compiler-made variants, extents, hidden addresses."""

import pytest

from memtrace.probes.sites.symbols import Symbol, SymbolTable

TEXT = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000010 t cond_accept_memory.part.0
ffffffff81000040 t __alloc_pages_slowpath.constprop.0
ffffffff81000040 t alias_of_slowpath
ffffffff81000100 t twice
ffffffff81000200 T post_alloc_hook
ffffffff81000300 t twice
ffffffff81000400 T post_alloc_hook_suffix
ffffffffc0000000 t twice\t[module]
"""
TABLE = SymbolTable(TEXT)


def test_a_function_ends_where_the_next_address_begins() -> None:
    name = "__alloc_pages_slowpath.constprop.0"
    assert TABLE.one(name) == Symbol(name, 0xFFFFFFFF81000040, 0xFFFFFFFF81000100)


def test_a_renamed_function_is_found_by_its_stem() -> None:
    assert TABLE.names("cond_accept_memory") == ("cond_accept_memory.part.0",)


def test_a_longer_name_is_not_a_variant() -> None:
    assert TABLE.names("post_alloc_hook") == ("post_alloc_hook",)


def test_a_name_that_two_functions_share_is_no_single_symbol() -> None:
    assert len(TABLE.find("twice")) == 2
    assert TABLE.one("twice") is None


def test_modules_do_not_count() -> None:
    assert all(s.address < 0xFFFFFFFFC0000000 for s in TABLE.find("twice"))


@pytest.mark.parametrize("name", ["absent", "post_alloc", ""])
def test_what_is_not_there_is_not_found(name: str) -> None:
    assert TABLE.names(name) == ()


def test_hidden_addresses_are_none() -> None:
    hidden = SymbolTable(b"0000000000000000 T _text\n0000000000000000 t get_page_from_freelist\n")
    assert hidden.one("get_page_from_freelist") is None


def test_the_running_kernel_has_its_allocator() -> None:
    assert SymbolTable.read().names("get_page_from_freelist") == ("get_page_from_freelist",)
