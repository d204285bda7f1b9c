# SPDX-License-Identifier: Apache-2.0
"""Importer and recorder decide ZEROED and IRQ_OFF alike: both are given the same cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.probes.sites.system import System
from memtrace.tests.traces.importers.conftest import Import, Text, import_, text
from memtrace.traces.derived import allocator_zeroes, answer, preemption
from memtrace.traces.schema import Flag

__all__ = ["import_", "text"]

KERNEL_ZEROES = [
    # init_on_alloc, init_on_free, __GFP_ZERO, zeroes: post_alloc_hook(), mm/page_alloc.c
    (True, False, True, True),
    (True, False, False, True),
    (False, False, True, True),
    (False, False, False, False),
    (True, True, True, False),
    (True, True, False, False),
    (False, True, True, False),
    (False, True, False, False),
    (None, False, True, True),
    (None, False, False, None),
    (True, None, True, None),
    (False, None, True, None),
    (False, None, False, False),
    (None, True, True, False),
    (None, None, True, None),
    (None, None, False, None),
]
Answer = bool | None


@pytest.mark.parametrize(("on_alloc", "on_free", "asked", "zeroes"), KERNEL_ZEROES)
def test_both_sides_say_zeroed_where_the_kernel_zeroes(
    import_: Import, text: Text, on_alloc: Answer, on_free: Answer, asked: bool, zeroes: Answer
) -> None:
    assert allocator_zeroes(asked, on_alloc, on_free) is zeroes
    files = [text(_allocation(asked))]
    if on_alloc is not None and on_free is not None:
        files.append(text(_log(on_alloc, on_free), "log.txt"))
        (row,) = import_(*files).of("alloc")
        assert bool(row["flags"] & Flag.ZEROED) is (zeroes is True)
    elif on_alloc is on_free is None:
        (row,) = import_(*files).of("alloc")
        assert not row["flags"] & Flag.ZEROED
    macros = System(on_alloc, on_free, {}).macros()
    assert macros["MT_ZEROES_ASKED" if asked else "MT_ZEROES_OTHERS"] == str(int(zeroes is True))


def test_flags_that_were_not_printed_leave_open_what_was_asked_for(import_: Import, text: Text) -> None:
    call = "  sh-7 [001] ..... 1.000000: g: (get_page_from_freelist+0x0/0x9) order=0\n"
    for on_alloc in (False, True):
        run = import_(text(call), text(_log(on_alloc, False), "log.txt"))
        assert [bool(r["flags"] & Flag.ZEROED) for r in run.of("alloc")] == [on_alloc]


def test_the_program_has_the_macros_alone_to_decide_by() -> None:
    """No file of BPF C knows init_on_alloc or init_on_free by another name."""
    probes = Path(__file__).parents[2] / "probes"
    texts = {path: path.read_text() for path in (*probes.rglob("*.c"), *probes.rglob("*.h"))}
    assert not [path for path, said in texts.items() if "MT_INIT_ON" in said]
    assert [path.name for path, said in texts.items() if "? MT_ZEROES_ASKED" in said] == ["common.h"]


@pytest.mark.parametrize("around", ["accept_memory", "set_memory_decrypted", None])
def test_both_sides_say_irq_off_inside_accept_memory_alone(
    import_: Import, text: Text, around: str | None
) -> None:
    log = text(_log(True, False), "log.txt")
    (arch,) = import_(text(_acceptance(around)), log).of("accept.arch")
    assert bool(arch["flags"] & Flag.IRQ_OFF) is (around == "accept_memory")


@pytest.mark.parametrize(
    ("version", "config", "value"),
    [
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-14)", {}, "no"),
        ("#1 SMP PREEMPT_RT Debian 6.12.117-1 (2026-11-14)", {}, "yes"),
        ("#6 SMP PREEMPT RT Sat Nov 21 03:54:04 UTC 2026", {}, "yes"),
        ("#6 SMP Sat Nov 21 03:54:04 UTC 2026", {"CONFIG_PREEMPT_RT": "n"}, "no"),
        ("made up", {"CONFIG_PREEMPT_RT": "y"}, "yes"),
        ("", {}, "unknown"),
    ],
)
def test_both_sides_say_irq_off_on_a_kernel_that_is_known_not_to_be_preempt_rt(
    import_: Import, text: Text, version: str, config: dict[str, str], value: str
) -> None:
    """accept_memory()'s lock sleeps there, and leaves interrupts on."""
    fact = preemption(version, config)
    assert fact.value == value
    macros = System(True, False, {}, preempt_rt=answer((fact,), "preempt_rt")).macros()
    assert macros["MT_ACCEPTS_IRQS_OFF"] == str(int(value == "no"))
    if config:
        return
    files = [text(_acceptance("accept_memory"))]
    if version:
        files.append(text(f"[    0.000000] Linux version 6.12.0 (a@b) (gcc 12) {version}\n", "log.txt"))
    run = import_(*files)
    (arch,) = run.of("accept.arch")
    assert bool(arch["flags"] & Flag.IRQ_OFF) is (value == "no")
    assert [f.value for f in run.header.facts if f.name == "preempt_rt"] == ([value] if version else [])


def _allocation(asked: bool) -> str:
    gfp = "GFP_KERNEL|__GFP_ZERO" if asked else "GFP_KERNEL"
    return (
        "# tracer: nop\n  sh-7 [001] ..... 1.000000: mm_page_alloc: page=0x1 pfn=0x4000 order=0 "
        f"migratetype=0 gfp_flags={gfp}\n"
    )


def _log(on_alloc: bool, on_free: bool) -> str:
    words = {True: "on", False: "off"}
    return (
        "[    0.000000] Linux version 6.12.0 (a@b) (gcc 12) #1 SMP PREEMPT_DYNAMIC Debian 6.12-1\n"
        "[    0.010000] mem auto-init: stack:all(zero), heap "
        f"alloc:{words[on_alloc]}, heap free:{words[on_free]}\n"
    )


def _acceptance(around: str | None) -> str:
    head = "  sh-7 [001] ..... "
    lines = [
        f"{head}1.000100: ta: (tdx_accept_memory+0x0/0x9) start=0x100200000 end=0x100600000\n",
        f"{head}1.000900: tr: (accept_memory+0x5/0x9 <- tdx_accept_memory)\n",
    ]
    if around:
        lines.insert(0, f"{head}1.000000: am: ({around}+0x0/0x9) start=0x100000000 size=0x400000\n")
        lines.append(f"{head}1.001000: ar: (x+0x5/0x9 <- {around})\n")
    return "".join(lines)
