# SPDX-License-Identifier: Apache-2.0
"""Ladder decisions on symbol tables recorded from real kernels, and climbing one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.sites import code
from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.ladder import Candidate, Ladder, climb
from memtrace.probes.sites.symbols import Symbol, SymbolTable
from memtrace.probes.sites.system import System
from memtrace.probes.topics import accept, alloc, zero
from memtrace.traces.run import Refusal

DATA = Path(__file__).parents[1] / "data"


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


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12", "debian-7.3", "accept-7.3"])
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
    assert [r.candidate for r in ladders["zero.alloc"].ruled_out] == [leaf]


def test_where_no_function_that_clears_can_be_read_the_reason_is_not_that_it_is_absent(
    recorded: Callable[..., System], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = recorded("debian-7.3")
    monkeypatch.setattr(code, "read_text", lambda symbol: b"\x90" * 64)
    page = {ladder.event: ladder for ladder in zero.ladders(system, True)}["zero.page"]
    assert (sites(page), [r.reason for r in page.ruled_out]) == ([], ["inlined"])


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


def test_a_kernel_without_acceptance_says_so(recorded: Callable[..., System]) -> None:
    for old in accept.ladders(recorded("debian-6.1"), False):
        assert (sites(old), [r.reason for r in old.ruled_out]) == ([], ["absent"]), old.event
    for off in accept.ladders(recorded("debian-6.12", CONFIG_UNACCEPTED_MEMORY="n"), False):
        assert (sites(off), [r.reason for r in off.ruled_out]) == ([], ["config missing"]), off.event


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
    def symbols(self) -> SymbolTable:  # type: ignore[override]
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
    types = {"accept_memory": "start end", "try_to_accept_memory_one": "zone"}
    old = acceptance("SEV-SNP", *names, notrace=("snp_accept_memory",), **types)
    assert sites(old["arch"]) == []
    assert [(r.candidate, r.reason) for r in old["arch"].ruled_out] == [("snp_accept_memory", "notrace")]
    assert sites(old["block"])[0] == "fentry:try_to_accept_memory_one"
    assert not {"MT_BLOCK_HAS_PAGE", "MT_BLOCK_VOID"} & set(old["block"].macros)
    assert "MT_ACCEPT_HAS_SIZE" not in old["call"].macros
    new = acceptance("SEV-SNP", *names, "__set_pages_state", **types)
    assert sites(new["arch"])[0] == "fentry:snp_accept_memory"
    assert new["step"].macros["MT_STEP_SNP"] == "1"


def test_the_platform_decides_what_accepts_not_what_the_kernel_was_built_with() -> None:
    both = ("accept_memory", "tdx_accept_memory", "snp_accept_memory")
    for unknown in ("plain", "unknown"):
        arch = acceptance(unknown, *both, accept_memory="start size")["arch"]
        assert (sites(arch), [r.reason for r in arch.ruled_out]) == ([], ["absent"])
    lab = acceptance("plain", *both, "unaccepted_emul_accept", accept_memory="start size")
    assert sites(lab["arch"])[0] == "fentry:unaccepted_emul_accept"
    assert sites(lab["step"]) == []


def test_an_argument_that_nothing_names_is_not_guessed() -> None:
    found = acceptance("TDX", "accept_memory")["call"]
    assert (sites(found), "end or size" in found.ruled_out[0].detail) == ([], True)


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
