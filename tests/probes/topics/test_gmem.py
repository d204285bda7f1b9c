# SPDX-License-Identifier: Apache-2.0
"""gmem's ladders on recorded symbol tables, and modules that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.probes.recorder import guests
from memtrace.probes.sites.symbols import SymbolTable
from memtrace.probes.sites.system import System
from memtrace.probes.topics import gmem
from memtrace.probes.topics.events import NAMES, SITE_MACROS
from memtrace.traces.run import ProbeSite

KVM = b"ffffffffc0000000 t kvm_vcpu_ioctl\t[kvm]\nffffffffc0000100 t kvm_mmu_page_fault\t[kvm]\n"
GMEM = b"ffffffffc0000200 T kvm_gmem_get_pfn\t[kvm]\n"


class Made(System):
    """A system with these symbols and no types."""

    text = b""
    btf = None
    kvm_btf = None
    filter_functions = None

    @property
    def symbols(self) -> SymbolTable:
        return SymbolTable(b"ffffffff81000000 T _text\n" + self.text)


def made(text: bytes, **config: str) -> System:
    named = type("Named", (Made,), {"text": text})
    return named(False, False, config)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("system", "reason", "says"),
    [
        (made(b"", CONFIG_KVM="n"), "config missing", "CONFIG_KVM is not set"),
        (made(b"", CONFIG_KVM="m"), "not loaded", "modprobe kvm_amd or kvm_intel"),
        (made(KVM), "absent", "no guest_memfd"),
        (made(KVM + GMEM), "not known", "no BTF of KVM"),
    ],
    ids=["no-kvm", "not-loaded", "old-kvm", "no-types"],
)
def test_what_cannot_be_seen_has_one_reason(system: System, reason: str, says: str) -> None:
    ladders = gmem.ladders(system, False)
    assert [ladder.event for ladder in ladders] == [event.name for event in gmem.EVENTS]
    assert not any(ladder.candidates for ladder in ladders)
    assert {refusal.reason for ladder in ladders for refusal in ladder.ruled_out} == {reason}
    assert all(says in refusal.detail for ladder in ladders for refusal in ladder.ruled_out)


def test_a_function_of_a_module_is_found_there() -> None:
    table = made(KVM).symbols
    assert table.names("kvm_mmu_page_fault") == ("kvm_mmu_page_fault",)
    assert table.module_of("kvm_mmu_page_fault") == "kvm"
    assert table.module_of("_text") is None
    assert table.modules_of(("_text", None, "kvm_vcpu_ioctl")) == {"kvm_vcpu_ioctl": "kvm"}


def test_a_module_that_was_loaded_anew_is_not_the_one_probed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded = {"kvm": 17}
    monkeypatch.setattr(guests, "_identity", loaded.get)
    sites = (
        ProbeSite("gmem.fault", "kprobe:f", "kprobe", "f"),
        ProbeSite("alloc", "fentry:g", "fentry", "g"),
    )
    watch = guests.Modules(sites, {"f": "kvm"})
    assert watch.gone() == ()
    loaded["kvm"] = 18
    assert watch.gone() == ("gmem.fault",)
    del loaded["kvm"]
    assert watch.gone() == ("gmem.fault",)


def test_sites_have_numbers_that_no_other_topic_has() -> None:
    assert len(set(SITE_MACROS)) == len(SITE_MACROS) <= 127
    ours = tuple(event.name for event in gmem.EVENTS)
    first = NAMES.index(ours[0])
    # aggregate.h compares numbers.
    assert NAMES[first : first + len(ours)] == ours
