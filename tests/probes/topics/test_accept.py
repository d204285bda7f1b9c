# SPDX-License-Identifier: Apache-2.0
"""Ladders of acceptance: on recorded symbol tables, and on kernels made of names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.sites.symbols import SymbolTable
from memtrace.probes.sites.system import System
from memtrace.probes.topics import accept
from memtrace.tests.probes.conftest import sites


class Types:
    """Parameters by function, in place of BTF; a zone's free_area has 11 orders."""

    def __init__(self, **functions: str) -> None:
        self._functions = functions

    def parameters(self, function: str) -> tuple[str, ...] | None:
        return tuple(self._functions[function].split()) if function in self._functions else None

    def elements_of(self, struct: str, member: str) -> int | None:
        return 11 if (struct, member) == ("zone", "free_area") else None


class Named(System):
    """A system that has the functions named, of which those in ``notrace`` take no probe."""

    functions: tuple[str, ...] = ()
    notrace: tuple[str, ...] = ()
    types = Types()

    @property
    def symbols(self) -> SymbolTable:
        return SymbolTable("".join(f"ffffffff81000000 t {name}\n" for name in self.functions).encode())

    @property
    def filter_functions(self) -> bytes:
        return "".join(f"{name}\n" for name in self.functions if name not in self.notrace).encode()

    @property
    def btf(self) -> Types:  # type: ignore[override]
        return self.types


def acceptance(
    confidential: str, *functions: str, notrace: tuple[str, ...] = (), **types: str
) -> dict[str, Ladder]:
    """The ladders of a kernel with these functions and parameters, by the event without "accept."."""
    made = type("Made", (Named,), {"functions": functions, "notrace": notrace, "types": Types(**types)})
    return {
        ladder.event.removeprefix("accept."): ladder
        for ladder in accept.ladders(made(True, False, {}, confidential), False)
    }


@pytest.mark.parametrize("kernel", ["debian-7.3", "accept-7.3"])
def test_acceptance_on_7_3_is_what_the_matrix_says(recorded: Callable[..., System], kernel: str) -> None:
    types = Types(accept_memory="start size", __accept_page="zone flags page")
    system = dataclasses.replace(recorded(kernel), confidential="TDX")
    type(system).btf = types  # type: ignore[assignment]
    found = {ladder.event: ladder for ladder in accept.ladders(system, False)}
    assert sites(found["accept.burst"]) == ["kprobe:cond_accept_memory.part.0"]
    assert sites(found["accept.block"]) == ["fentry:__accept_page", "kprobe:__accept_page"]
    assert "MT_ACCEPT_HAS_SIZE" in found["accept.call"].macros
    assert sites(found["accept.arch"])[0] == "fentry:tdx_accept_memory"
    assert sites(found["accept.step"])[0] == "fentry:try_accept_one"


def test_a_kernel_without_acceptance_says_so(recorded: Callable[..., System]) -> None:
    for old in accept.ladders(recorded("debian-6.1"), False):
        assert (sites(old), [r.reason for r in old.ruled_out]) == ([], ["absent"]), old.event
    for off in accept.ladders(recorded("debian-6.12", CONFIG_UNACCEPTED_MEMORY="n"), False):
        assert (sites(off), [r.reason for r in off.ruled_out]) == ([], ["config missing"]), off.event


@pytest.mark.parametrize("kernel", ["debian-7.3", "accept-7.3"])
def test_a_step_of_sev_snp_on_7_3_is_the_whole_range(recorded: Callable[..., System], kernel: str) -> None:
    """__set_pages_state() is inlined there into set_pages_state(), whose arguments BTF names."""

    def step(**parameters: str) -> Ladder:
        system = dataclasses.replace(recorded(kernel), confidential="SEV-SNP")
        type(system).btf = Types(accept_memory="start size", **parameters)  # type: ignore[assignment]
        return {ladder.event: ladder for ladder in accept.ladders(system, False)}["accept.step"]

    found = step(set_pages_state="vaddr npages op")
    assert sites(found) == ["fentry:set_pages_state", "kprobe:set_pages_state"]
    assert (found.macros["MT_STEP_SNP"], found.macros["MT_STEP_WHOLE"]) == ("1", "1")
    other = step(set_pages_state="vaddr vaddr_end op")
    assert (sites(other), [r.reason for r in other.ruled_out]) == ([], ["not known"])


def test_a_step_of_sev_snp_that_goes_on_in_a_clone_is_not_guessed_at() -> None:
    names = ("accept_memory", "snp_accept_memory", "set_pages_state", "set_pages_state.part.0")
    found = acceptance("SEV-SNP", *names, accept_memory="start size", set_pages_state="vaddr npages op")
    assert (sites(found["step"]), [r.reason for r in found["step"].ruled_out]) == ([], ["inlined"])


def test_acceptance_on_ubuntu_6_17_in_tdx() -> None:
    found = acceptance(
        "TDX",
        *("accept_memory", "cond_accept_memory.part.0", "__accept_page"),
        *("tdx_accept_memory", "try_accept_one", "snp_accept_memory", "__set_pages_state"),
        accept_memory="start size",
        __accept_page="zone flags page",
    )
    # What the compiler split off takes no fentry, and its arguments are not known.
    assert sites(found["burst"]) == ["kprobe:cond_accept_memory.part.0"]
    assert "MT_BURST_ARGS" not in found["burst"].macros
    assert sites(found["block"]) == ["fentry:__accept_page", "kprobe:__accept_page"]
    assert found["block"].macros["MT_BLOCK_PAGES"] == "1024"
    assert {"MT_BLOCK_HAS_PAGE", "MT_BLOCK_VOID"} <= set(found["block"].macros)
    assert "MT_ACCEPT_HAS_SIZE" in found["call"].macros
    assert sites(found["arch"]) == ["fentry:tdx_accept_memory", "kprobe:tdx_accept_memory"]
    assert sites(found["step"]) == ["fentry:try_accept_one", "kprobe:try_accept_one"]
    assert "MT_STEP_SNP" not in found["step"].macros


def test_acceptance_in_sev_snp_before_and_after_it_could_be_traced() -> None:
    names = ("accept_memory", "try_to_accept_memory_one", "tdx_accept_memory", "snp_accept_memory")
    old = acceptance(
        "SEV-SNP",
        *names,
        notrace=("snp_accept_memory",),
        accept_memory="start end",
        try_to_accept_memory_one="zone",
    )
    assert sites(old["arch"]) == []
    assert [(r.candidate, r.reason) for r in old["arch"].ruled_out] == [("snp_accept_memory", "notrace")]
    assert sites(old["block"])[0] == "fentry:try_to_accept_memory_one"
    assert not {"MT_BLOCK_HAS_PAGE", "MT_BLOCK_VOID"} & set(old["block"].macros)
    assert "MT_ACCEPT_HAS_SIZE" not in old["call"].macros
    new = acceptance(
        "SEV-SNP",
        *names,
        "__set_pages_state",
        accept_memory="start end",
        try_to_accept_memory_one="zone",
    )
    assert sites(new["arch"])[0] == "fentry:snp_accept_memory"
    assert new["step"].macros["MT_STEP_SNP"] == "1"


def test_the_platform_decides_what_accepts_not_what_the_kernel_was_built_with() -> None:
    both = ("accept_memory", "tdx_accept_memory", "snp_accept_memory")
    for unknown in ("plain", "unknown"):
        arch = acceptance(unknown, *both, accept_memory="start size")["arch"]
        assert (sites(arch), [r.reason for r in arch.ruled_out]) == ([], ["unused"])
        without = acceptance(unknown, "accept_memory", accept_memory="start size")["arch"]
        assert [r.reason for r in without.ruled_out] == ["absent"]
    lab = acceptance("plain", *both, "unaccepted_emul_accept", accept_memory="start size")
    assert sites(lab["arch"])[0] == "fentry:unaccepted_emul_accept"
    assert sites(lab["step"]) == []


def test_an_argument_that_nothing_names_is_not_guessed() -> None:
    found = acceptance("TDX", "accept_memory")["call"]
    assert (sites(found), "end or size" in found.ruled_out[0].detail) == ([], True)
