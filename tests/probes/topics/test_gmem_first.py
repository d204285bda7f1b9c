# SPDX-License-Identifier: Apache-2.0
"""Which form of guest_memfd a kernel has, from its symbols and the names of its arguments.

The argument lists are those of 6.12, 7.3.4 and of the merge window after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from memtrace.probes.machine import tracefs
from memtrace.probes.sites import ladder
from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.symbols import SymbolTable
from memtrace.probes.sites.system import System
from memtrace.probes.topics import gmem, gmem_convert
from memtrace.probes.topics.gmem_arguments import counts
from memtrace.probes.topics.gmem_first import first_use

Arguments = dict[str, tuple[str, ...]]
OLD: Arguments = {
    "kvm_gmem_get_pfn": ("kvm", "slot", "gfn", "pfn", "page", "max_order"),
    "__kvm_gmem_get_pfn": ("file", "slot", "index", "pfn", "is_prepared", "max_order"),
    "kvm_arch_gmem_prepare": ("kvm", "gfn", "pfn", "max_order"),
    "kvm_gmem_populate": ("kvm", "start_gfn", "src", "npages", "post_populate", "opaque"),
    "kvm_gmem_bind": ("kvm", "slot", "fd", "offset"),
    "kvm_vm_ioctl": ("filp", "ioctl", "arg"),
}
NEW: Arguments = {
    "kvm_gmem_get_pfn": ("kvm", "slot", "gfn", "pfn", "page", "max_order"),
    "__kvm_gmem_get_pfn": ("file", "slot", "index", "pfn", "max_order"),
    "kvm_gmem_get_folio": ("inode", "index"),
    "kvm_arch_gmem_make_private": ("kvm", "gfn", "pfn", "nr_pages"),
    "kvm_gmem_populate": (
        "kvm",
        "start_gfn",
        "src",
        "npages",
        "may_writeback_src",
        "post_populate",
        "opaque",
    ),
    "kvm_gmem_commit_memory_region": ("kvm", "slot"),
    "kvm_vm_ioctl": ("filp", "ioctl", "arg"),
}
NEXT: Arguments = NEW | {
    "kvm_gmem_get_pfn": ("kvm", "slot", "gfn", "pfn", "max_order"),
    "kvm_gmem_ioctl": ("file", "ioctl", "arg"),
}


class Types:
    """The answers of a kernel's BTF."""

    def __init__(self, functions: Arguments) -> None:
        self._functions = functions

    def parameters(self, function: str) -> tuple[str, ...] | None:
        return self._functions.get(function)

    def enumerator(self, name: str, enum: str) -> int | None:
        return {("PG_uptodate", "pageflags"): 2}.get((name, enum))

    def offset_of(self, struct: str, member: str) -> int | None:
        return 8


class Kernel(System):
    """A system whose functions these are."""

    functions: ClassVar[Arguments] = {}
    filter_functions = None

    @property
    def symbols(self) -> SymbolTable:
        names = ("_text", "kvm_vcpu_ioctl", "kvm_mmu_page_fault", *self.functions)
        lines = (f"ffffffff81{n:06x} T {name}\n" for n, name in enumerate(names))
        return SymbolTable("".join(lines).encode())

    @property
    def kvm_btf(self) -> Btf:
        return cast(Btf, Types(self.functions))

    btf = None


@pytest.fixture(autouse=True)
def any_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel that runs the test does not say what may be traced."""
    monkeypatch.setattr(tracefs, "blacklisted", lambda function: False)
    monkeypatch.setattr(tracefs, "traceable", lambda function, known: None)


def kernel(functions: Arguments) -> System:
    named: Any = type("Named", (Kernel,), {"functions": functions})
    return cast(System, named(False, False, {}))


def ladders(functions: Arguments) -> dict[str, ladder.Ladder]:
    return {made.event: made for made in gmem.ladders(kernel(functions), False)}


def test_a_kernel_that_tracks_what_is_prepared_needs_one_function() -> None:
    found = first_use(kernel(OLD), cast(Btf, Types(OLD)))
    assert found.hook_tells and [name for name, _ in found.functions] == ["__kvm_gmem_get_pfn"]
    made = ladders(OLD)
    assert "MT_GMEM_HOOK_FOR_ALL" not in made["gmem.prepare"].macros
    assert made["gmem.zero"].candidates[0].site == "fentry:__kvm_gmem_get_pfn..kvm_arch_gmem_prepare"


@pytest.mark.parametrize("functions", [NEW, NEXT], ids=["hook-for-all", "cleared-inside"])
def test_else_the_folio_tells_before_it_can_be_cleared(functions: Arguments) -> None:
    found = first_use(kernel(functions), cast(Btf, Types(functions)))
    assert not found.hook_tells
    assert [name for name, _ in found.functions] == ["kvm_gmem_get_folio", "__kvm_gmem_get_pfn"]
    made = ladders(functions)
    assert "MT_GMEM_HOOK_FOR_ALL" in made["gmem.prepare"].macros
    assert made["gmem.zero"].candidates[0].site == "fentry:kvm_gmem_get_folio..kvm_arch_gmem_make_private"


@pytest.mark.parametrize("inlined", ["kvm_gmem_get_folio", "__kvm_gmem_get_pfn"])
def test_without_it_neither_event_has_a_site_and_the_reason_is_said(inlined: str) -> None:
    made = ladders({name: arguments for name, arguments in NEW.items() if name != inlined})
    for event in ("gmem.zero", "gmem.prepare"):
        assert not made[event].candidates
        (refusal,) = made[event].ruled_out
        assert refusal.candidate == inlined and refusal.reason == "absent"
        assert "the first use of a page can't be told from a later look-up" in refusal.detail
    assert made["gmem.get"].candidates


def test_arguments_are_counted_for_the_return_value_behind_them() -> None:
    assert counts(kernel(OLD), cast(Btf, Types(OLD)))["MT_GMEM_POPULATE_ARGS"] == "6"
    assert counts(kernel(NEW), cast(Btf, Types(NEW)))["MT_GMEM_POPULATE_ARGS"] == "7"
    moved = NEW | {"kvm_gmem_populate": ("kvm", "first", "src", "npages")}
    (refusal,) = ladders(moved)["gmem.populate"].ruled_out
    assert "no argument named start_gfn" in refusal.detail


@pytest.mark.parametrize(("setting", "served"), [("N\n", True), ("Y\n", False), (None, False)])
def test_conversions_that_go_by_the_file_itself_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str | None, served: bool
) -> None:
    path = tmp_path / "gmem_in_place_conversion"
    if setting is not None:
        path.write_text(setting)
    monkeypatch.setattr(gmem_convert, "IN_PLACE_SETTING", path)
    assert ladders(NEW)["gmem.convert"].candidates
    convert = ladders(NEXT)["gmem.convert"]
    assert bool(convert.candidates) == served
    assert served or "kvm_vm_ioctl sees none of it" in convert.ruled_out[0].detail


def test_a_slot_is_bound_by_whichever_function_does_it() -> None:
    assert ladders(OLD)["gmem.get"].macros["MT_FN_GMEM_BIND"] == "kvm_gmem_bind"
    made = ladders(NEW)["gmem.get"].macros
    assert (made["MT_FN_GMEM_BIND"], made["MT_GMEM_BIND_ARGS"]) == ("kvm_gmem_commit_memory_region", "2")
