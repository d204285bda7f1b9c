# SPDX-License-Identifier: Apache-2.0
"""Ladder decisions on symbol tables recorded from real kernels, and climbing one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from memtrace.probes import accept, alloc, code, zero
from memtrace.probes.btf import Btf
from memtrace.probes.ladder import Candidate, Ladder, climb
from memtrace.probes.module import Module, RefusedError
from memtrace.probes.symbols import Symbol, SymbolTable
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

DATA = Path(__file__).parent / "data"


class Recorded(System):
    """A system whose symbols and traceable functions were read from a real kernel."""

    kernel: str
    btf: Btf | None = None

    @property
    def symbols(self) -> SymbolTable:  # type: ignore[override]
        return SymbolTable((DATA / self.kernel / "kallsyms").read_bytes())

    @property
    def filter_functions(self) -> bytes:
        return (DATA / self.kernel / "available_filter_functions").read_bytes()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., System]:
    def make(kernel: str, **config: str) -> System:
        def text(symbol: Symbol, path: Path = Path()) -> bytes | None:
            file = DATA / kernel / f"{symbol.name}.text"
            return file.read_bytes() if file.exists() else b""

        monkeypatch.setattr(code, "read_text", text)
        named = type(kernel, (Recorded,), {"kernel": kernel})
        return named(True, False, config)  # type: ignore[no-any-return]

    return make


def sites(ladder: Ladder) -> list[str]:
    return [candidate.site for candidate in ladder.candidates]


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12"])
def test_alloc_goes_from_fentry_down_to_the_tracepoint(recorded: Callable[..., System], kernel: str) -> None:
    (ladder,) = alloc.ladders(recorded(kernel), False)
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
    ("kernel", "function"), [("debian-6.1", "clear_huge_page"), ("debian-6.12", "folio_zero_user")]
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


def test_a_kernel_without_acceptance_says_so(recorded: Callable[..., System]) -> None:
    (old,) = accept.ladders(recorded("debian-6.1"), False)
    assert (sites(old), old.ruled_out[0].reason) == ([], "absent")
    (off,) = accept.ladders(recorded("debian-6.12", CONFIG_UNACCEPTED_MEMORY="n"), False)
    assert (sites(off), off.ruled_out[0].reason) == ([], "config missing")


def candidate(site: str, kind: str, error: RefusedError | None = None) -> Candidate:
    def attach(module: Module) -> None:
        if error is not None:
            raise error

    return Candidate("alloc", site, kind, "MT_SITE_X", None, attach, "")


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
    site, chosen = climb(ladder, None)  # type: ignore[arg-type]
    assert chosen is ladder.candidates[1]
    assert site.site == "kprobe:f"
    assert [(r.candidate, r.reason) for r in site.refused] == [
        ("leaf", "absent"),
        ("fentry:f", "refused by policy"),
    ]


def test_an_avoided_kind_is_passed_over() -> None:
    ladder = Ladder("alloc", (candidate("fentry:f", "fentry"), candidate("rawtp:t", "rawtp")))
    site, _ = climb(ladder, None, avoid=("fentry",))  # type: ignore[arg-type]
    assert site.site == "rawtp:t"
    assert site.refused[0].detail == "--avoid fentry"


def test_no_candidate_left_is_an_answer_too() -> None:
    site, chosen = climb(Ladder("alloc", (), (Refusal("f", "absent"),)), None)  # type: ignore[arg-type]
    assert (site.site, site.time, site.count, chosen) == (None, "unknown", "unknown", None)
