# SPDX-License-Identifier: Apache-2.0
"""Ladder decisions on symbol tables recorded from real kernels, and climbing one."""

import dataclasses
from collections.abc import Callable

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.programs.compiled import Compiled
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.programs.values import variant
from memtrace.probes.sites import code
from memtrace.probes.sites.ladder import Candidate, Ladder, climb, together
from memtrace.probes.sites.system import System
from memtrace.probes.topics import alloc, zero
from memtrace.tests.probes.conftest import sites
from memtrace.traces.run import Refusal


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12", "debian-7.3", "accept-7.3"])
def test_alloc_goes_from_fentry_down_to_the_tracepoint(recorded: Callable[..., System], kernel: str) -> None:
    ladder, *_ = alloc.ladders(recorded(kernel), False)
    assert sites(ladder) == [
        "fentry:get_page_from_freelist",
        "kprobe:get_page_from_freelist",
        "rawtp:mm_page_alloc",
    ]
    assert ladder.macros["MT_FN_ALLOC"] == "get_page_from_freelist"


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12"])
def test_the_allocators_zeroing_is_seen_where_it_calls_clear_page(
    recorded: Callable[..., System], kernel: str
) -> None:
    ladder = zero.alloc_ladder(recorded(kernel), True)
    assert sites(ladder) == ["callsite:clear_page", "inferred:gfp"]
    assert {r.candidate: r.reason for r in ladder.ruled_out} == {
        "clear_highpages_kasan_tagged": "absent",
        "kernel_init_pages": "absent",
        "kernel_init_free_pages": "absent",
    }


@pytest.mark.parametrize(
    ("kernel", "called", "offset"),
    [("debian-7.3", "post_alloc_hook", 0x8D8), ("accept-7.3", "prep_new_page", 0x842)],
)
def test_the_allocators_zeroing_is_its_leafs_else_the_hooks_and_the_bulk_allocators_calls(
    recorded: Callable[..., System], kernel: str, called: str, offset: int
) -> None:
    """post_alloc_hook() is called by get_page_from_freelist(), or inlined into prep_new_page()."""
    ladder = zero.alloc_ladder(recorded(kernel), True)
    leaf = "clear_highpages_kasan_tagged"
    assert sites(ladder) == [f"fentry:{leaf}", f"kprobe:{leaf}", f"callsite:{called}", "inferred:gfp"]
    assert ladder.ruled_out == ()
    assert ladder.macros["MT_FN_ZERO_LEAF"] == leaf
    calls = ladder.candidates[2]
    assert (calls.offsets[0], calls.function) == (offset, "get_page_from_freelist")
    assert "alloc_pages_bulk_noprof+" in calls.decode


@pytest.mark.parametrize("kernel", ["debian-7.3", "accept-7.3"])
def test_pages_cleared_one_by_one_are_found_called_or_inlined(
    recorded: Callable[..., System], kernel: str
) -> None:
    """Debian's text is as built, a call; the other is as it ran, on a CPU with fast strings."""
    page = {ladder.event: ladder for ladder in zero.ladders(recorded(kernel), True)}["zero.page"]
    assert sites(page) == [f"callsite:{'clear_page' if kernel == 'debian-7.3' else 'clear_pages'}"]
    assert page.candidates[0].function == "shmem_get_folio_gfp"
    assert page.candidates[0].offsets == ((0x42F,) if kernel == "debian-7.3" else (0x33C,))


@pytest.mark.parametrize("kernel", ["debian-7.3", "accept-7.3"])
def test_with_init_on_free_the_leaf_clears_what_is_freed_and_not_what_is_allocated(
    recorded: Callable[..., System], kernel: str
) -> None:
    system = dataclasses.replace(recorded(kernel), init_on_free=True)
    ladders = {ladder.event: ladder for ladder in zero.ladders(system, True)}
    leaf = "clear_highpages_kasan_tagged"
    assert sites(ladders["zero.free"]) == [f"fentry:{leaf}", f"kprobe:{leaf}"]
    assert ladders["zero.free"].macros["MT_LEAF_FREES"] == "1"
    assert "MT_FN_ZERO_LEAF" not in ladders["zero.alloc"].macros
    assert not [site for site in sites(ladders["zero.alloc"]) if leaf in site]
    assert [(r.candidate, r.reason) for r in ladders["zero.alloc"].ruled_out] == [(leaf, "unused")]


@pytest.mark.parametrize(
    ("on_alloc", "on_free", "reason", "inferred"),
    [(True, False, "unused", True), (None, False, "unused", False), (True, None, "not known", False)],
)
def test_what_depends_on_a_setting_that_nothing_tells_is_not_known(
    recorded: Callable[..., System], on_alloc: bool | None, on_free: bool | None, reason: str, inferred: bool
) -> None:
    """Neither the hook's calls nor gfp flags tell what is cleared; calls of clear_page do."""
    system = dataclasses.replace(recorded("debian-6.12"), init_on_alloc=on_alloc, init_on_free=on_free)
    ladders = {ladder.event: ladder for ladder in zero.ladders(system, False)}
    assert [r.reason for r in ladders["zero.free"].ruled_out] == [reason]
    calls = ["callsite:clear_page"]
    assert sites(ladders["zero.alloc"]) == calls + ["inferred:gfp"] * inferred
    hooked = dataclasses.replace(recorded("debian-7.3"), init_on_alloc=on_alloc, init_on_free=on_free)
    (alloc_,) = (each for each in zero.ladders(hooked, False) if each.event == "zero.alloc")
    assert ("callsite:post_alloc_hook" in sites(alloc_)) is inferred


def test_where_no_function_that_clears_can_be_read_the_reason_is_not_that_it_is_absent(
    recorded: Callable[..., System], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = recorded("debian-7.3")
    monkeypatch.setattr(code, "read_text", lambda symbol: b"\x90" * 64)
    page = {ladder.event: ladder for ladder in zero.ladders(system, True)}["zero.page"]
    assert (sites(page), [r.reason for r in page.ruled_out]) == ([], ["inlined"])


@pytest.mark.parametrize(
    ("kernel", "function"),
    [
        ("debian-6.1", "clear_huge_page"),
        ("debian-6.12", "folio_zero_user"),
        ("debian-7.3", "folio_zero_user"),
        ("accept-7.3", "folio_zero_user"),
    ],
)
def test_zero_user_by_the_name_this_kernel_has(
    recorded: Callable[..., System], kernel: str, function: str
) -> None:
    assert sites(zero.user_ladder(recorded(kernel), False)) == [f"fentry:{function}", f"kprobe:{function}"]


def test_without_kprobes_call_sites_are_out_and_the_reason_is_the_config(
    recorded: Callable[..., System],
) -> None:
    ladder = zero.alloc_ladder(recorded("debian-6.12", CONFIG_KPROBES="n"), True)
    assert sites(ladder) == ["inferred:gfp"]
    assert ladder.ruled_out[-1] == Refusal("kprobe", "config missing", "CONFIG_KPROBES is not set")


NO_PROGRAMS = Module(Compiled("", "", "", (), (), ()), variant({}))


def candidate(site: str, kind: str, error: RefusedError | None = None) -> Candidate:
    def attach(module: Module) -> None:
        if error is not None:
            raise error

    return Candidate("alloc", site, kind, None, attach, "")


def test_the_first_that_the_kernel_takes_wins_and_each_refusal_is_kept() -> None:
    ladder = Ladder(
        "alloc",
        (
            candidate("fentry:f", "fentry", RefusedError("refused by policy", "EPERM")),
            candidate("kprobe:f", "kprobe"),
            candidate("rawtp:t", "rawtp", RefusedError("failed", "must not be tried")),
        ),
        (Refusal("leaf", "absent"),),
    )
    site, chosen = climb(ladder, NO_PROGRAMS)
    assert chosen == ladder.candidates[1:2]
    assert site.site == "kprobe:f"
    assert [(r.candidate, r.reason) for r in site.refused] == [
        ("leaf", "absent"),
        ("fentry:f", "refused by policy"),
    ]


def test_an_avoided_kind_is_passed_over() -> None:
    ladder = Ladder("alloc", (candidate("fentry:f", "fentry"), candidate("rawtp:t", "rawtp")))
    site, _ = climb(ladder, NO_PROGRAMS, avoid=("fentry",))
    assert site.site == "rawtp:t"
    assert site.refused[0].detail == "--avoid fentry"


def test_a_second_site_is_tried_beside_the_first_alone() -> None:
    gone = RefusedError("blacklisted", "listed")
    seconds = (candidate("fentry:g", "fentry", gone), candidate("kprobe:g", "kprobe"))
    one = dataclasses.replace(candidate("fentry:f", "fentry"), beside=seconds)
    other = dataclasses.replace(candidate("kprobe:f", "kprobe"), beside=seconds[:1])
    site, chosen = climb(Ladder("alloc", (one, other)), NO_PROGRAMS)
    assert (site.site, site.beside, chosen) == ("fentry:f", "kprobe:g", (one, seconds[1]))
    assert [r.candidate for r in site.refused] == ["fentry:g"]

    site, chosen = climb(Ladder("alloc", (one, other)), NO_PROGRAMS, avoid=("fentry",))
    assert (site.site, site.beside, chosen) == ("kprobe:f", None, (other,))


def test_no_candidate_left_is_an_answer_too() -> None:
    site, chosen = climb(Ladder("alloc", (), (Refusal("f", "absent"),)), NO_PROGRAMS)
    assert (site.site, site.time, site.count, chosen) == (None, "unknown", "unknown", ())


def test_a_name_in_the_programs_has_one_meaning() -> None:
    """The pages of accept.block were those of a memory block wherever hot.block was watched too."""
    one, other = Ladder("a", (), macros={"MT_X": "1", "MT_Y": "2"}), Ladder("b", (), macros={"MT_X": "1"})
    assert together((one, other)) == {"MT_X": "1", "MT_Y": "2"}
    clash = Ladder("c", (), macros={"MT_Y": "3"})
    with pytest.raises(MemtraceError, match="c takes MT_Y for 3, another event for 2"):
        together((one, other, clash))
