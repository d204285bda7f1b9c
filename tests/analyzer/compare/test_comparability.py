# SPDX-License-Identifier: Apache-2.0
"""What else differs is named before the numbers, and what it makes meaningless is withheld."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from memtrace.tests.analyzer.compare.conftest import Compare
from memtrace.tests.analyzer.compare.generated import rows_of, write_run, write_side
from memtrace.tests.analyzer.recorded import PERIOD, header, streamed, time_only
from memtrace.traces.run import Fact, Node, ProbeSite, Refusal, RunHeader, RunStatus
from memtrace.traces.totals import Losses

BOOTS = 4


def side(folder: Path, rows: list[dict[str, Any]], first: int, **fields: Any) -> Path:
    """Runs of the same rows, but for a little noise in their times."""
    for i in range(BOOTS):
        noisy = [{**r, **{k: r[k] + i for k in ("total_ns", "self_ns") if r.get(k)}} for r in rows]
        write_run(folder / f"{i}.parquet", noisy, first + i, **fields)
    return folder


def plain_facts(**changes: str) -> tuple[Fact, ...]:
    values = {"virtualized": "no", "init_on_alloc": "no", "accept_memory": "lazy", "thp_enabled": "always"}
    return tuple(Fact(name, value) for name, value in (values | changes).items())


def test_nothing_differs_between_runs_of_one_kernel(folder: Path, compared: Compare) -> None:
    write_side(folder / "a", BOOTS, seed=1, facts=plain_facts())
    write_side(folder / "b", BOOTS, seed=2, first=50, facts=plain_facts())
    assert compared("a", "b").findings == {}


@pytest.mark.parametrize(
    ("fields", "id_", "text"),
    [
        ({"facts": plain_facts(init_on_alloc="yes")}, "init-on-alloc", "no against yes"),
        ({"facts": plain_facts(thp_enabled="never")}, "thp-enabled", "always against never"),
        (
            {"facts": plain_facts(virtualized="qemu", host_backing="hugetlb")},
            "virtualized",
            "no against qemu",
        ),
        ({"config": {"CONFIG_INIT_ON_ALLOC_DEFAULT_ON": "y"}}, "config", "ALLOC_DEFAULT_ON n against y"),
        ({"config": {}}, "config-unknown", "unknown"),
        ({"kernel_cmdline": "quiet transparent_hugepage=never"}, "cmdline", "transparent_hugepage"),
        ({"sysctls": {"vm.min_free_kbytes": "99"}}, "sysctls", "min_free_kbytes 45 against 99"),
        ({"cpus": 4}, "cpus", "2 against 4"),
        ({"kernel_cmdline": "memtrace.clock=instructions"}, "clock", "time against instructions"),
        ({"kernel_cmdline": "memtrace.clock=instructions"}, "clock-shared", "2 CPUs took turns"),
        ({"machine": "aarch64"}, "machine", "aarch64"),
        ({"workload": ("memhog", "2g")}, "workload", "memhog 1g against memhog 2g"),
        ({"tool_version": "9"}, "tool", "0.1.0 against 9"),
        ({"origin": "imported"}, "origin", "recorded against imported"),
        ({"stream_all": True}, "streaming", "all but order 0 against every event"),
        ({"tail_ns": 100_000}, "streaming", "all but order 0 against all but order 0 below 100us"),
        ({"filters": {"pid": "7"}}, "filters", "none against pid 7"),
        ({"page_size": 65536}, "page-size", "4096 against 65536"),
        ({"nodes": (Node(0),)}, "nodes", "0, 1 against 0"),
        ({"hostname": "other"}, "host", "box against other"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_difference_is_named(
    folder: Path, compared: Compare, fields: dict[str, Any], id_: str, text: str
) -> None:
    plain: dict[str, Any] = {
        "facts": plain_facts(), "kernel_cmdline": "quiet", "sysctls": {"vm.min_free_kbytes": "45"},
    }  # fmt: skip
    write_side(folder / "a", BOOTS, events=20, **plain)
    write_side(folder / "b", BOOTS, events=20, first=50, **(plain | fields))
    found = compared("a", "b").findings
    assert text in found[id_]


def test_times_by_different_clocks_are_not_compared(folder: Path, compared: Compare) -> None:
    write_side(folder / "a", BOOTS, events=20)
    write_side(folder / "b", BOOTS, events=20, first=50, kernel_cmdline="memtrace.clock=instructions")
    found = compared("a", "b")
    assert found.change("alloc.total")["verdict"] == "withheld"
    assert found.change("alloc.bytes")["verdict"] != "withheld"


def test_a_side_that_is_mixed_is_named(folder: Path, compared: Compare) -> None:
    write_side(folder / "a", 2, events=20)
    write_run(folder / "a" / "other.parquet", rows_of([5.0]), 9, kernel_release="6.14.0", events=["alloc"])
    write_side(folder / "b", 3, events=20, first=50)
    assert "2 kernels" in compared("a", "b").findings["mixed"]


def test_runs_of_one_boot_are_not_taken_for_boots(folder: Path, compared: Compare) -> None:
    for i in range(BOOTS):
        write_run(folder / "a" / f"{i}.parquet", rows_of([5.0 + i]), 1, edit=_later(i))
    write_side(folder / "b", BOOTS, events=20, first=50)
    assert "of one boot" in compared("a", "b").findings["one-boot"]


def _later(i: int) -> Any:
    def edit(made: RunHeader, ended: RunStatus) -> tuple[RunHeader, RunStatus]:
        return made, dataclasses.replace(ended, ended_ns=ended.ended_ns + i)

    return edit


def test_work_that_moved_is_compared_as_a_whole_only(folder: Path, compared: Compare) -> None:
    """Up to 6.13 the allocator clears a huge page, and folio_zero_user() again; from 6.14 on the former
    alone.  zero.user alone would look like a gain of all, though half of the work is still done."""
    user = [streamed("zero.user", 9, 60_000 + i, pid=i) for i in range(30)]
    inside = [streamed("zero.alloc", 9, 80_000 + i, parent="alloc") for i in range(30)]
    side(folder / "old", user + inside, 0, events=["zero.alloc", "zero.user"])
    side(folder / "new", inside, 50, events=["zero.alloc", "zero.user"])
    found = compared("old", "new")
    assert "zero.total and zero.bytes" in found.findings["moved"]
    for metric in ("zero.user.p50", "zero.user.bytes", "zero.alloc.p50", "zero.alloc.total"):
        assert found.change(metric)["verdict"] == "withheld", metric
    assert found.change("zero.bytes")["change"] == pytest.approx(-0.5)
    assert found.change("zero.bytes")["verdict"] == "better"
    assert found.change("zero.total")["change"] == pytest.approx(-60 / 140, rel=0.01)


def test_work_that_can_no_longer_be_seen_has_not_moved(folder: Path, compared: Compare) -> None:
    """zero.user inlined on the new kernel: its bytes are unseen, and the family's are no sum."""
    user = [streamed("zero.user", 9, 60_000 + i) for i in range(30)]
    inside = [streamed("zero.alloc", 9, 80_000 + i, parent="alloc") for i in range(30)]
    unseen = ProbeSite("zero.user", None, refused=(Refusal("fentry:folio_zero_user", "inlined"),))
    manifest = (*header("zero.alloc").manifest, unseen)
    side(folder / "old", user + inside, 0, events=["zero.alloc", "zero.user"])
    side(folder / "new", inside, 50, events=["zero.alloc"], manifest=manifest)
    found = compared("old", "new")
    assert "inlined" in found.findings["watched"]
    assert found.change("zero.bytes")["verdict"] == "withheld"
    assert found.change("zero.alloc.p50")["verdict"] != "withheld"


def test_estimated_time_is_not_held_against_exact_time(folder: Path, compared: Compare) -> None:
    exact = [streamed("alloc", 0, 500 + i) for i in range(40)]
    sampled = [streamed("alloc", 0, None) for _ in range(40)] + [time_only("alloc", 3)]
    estimated = (ProbeSite("alloc", "rawtp:kmem:mm_page_alloc", "rawtp", time="estimated", proven=True),)

    def period(made: RunHeader, ended: RunStatus) -> tuple[RunHeader, RunStatus]:
        return made, dataclasses.replace(ended, samples={"period_ns": PERIOD})

    side(folder / "a", exact, 0)
    side(folder / "b", sampled, 50, manifest=estimated, edit=period)
    found = compared("a", "b")
    assert "exact against estimated" in found.findings["site-time"]
    assert "rawtp:kmem:mm_page_alloc" in found.findings["site"]
    assert found.change("alloc.total")["verdict"] == "withheld"
    assert found.change("alloc.total")["reason"] == "time seen otherwise"
    assert found.change("alloc.bytes")["verdict"] == "equivalent"


def test_a_site_that_missed_known_work_is_not_compared(folder: Path, compared: Compare) -> None:
    failed = (dataclasses.replace(header("alloc").manifest[0], proven=False),)
    write_side(folder / "a", BOOTS, events=20)
    write_side(folder / "b", BOOTS, events=20, first=50, manifest=failed)
    found = compared("a", "b")
    assert "not seen" in found.findings["site-failed"]
    assert found.verdicts == {"withheld"}


def test_a_site_that_was_never_checked_is_named(folder: Path, compared: Compare) -> None:
    unproven = (dataclasses.replace(header("alloc").manifest[0], proven=None),)
    write_side(folder / "a", BOOTS, events=20)
    write_side(folder / "b", BOOTS, events=20, first=50, manifest=unproven)
    assert "alloc" in compared("a", "b").findings["site-unproven"]


def test_what_was_accepted_eagerly_no_probe_saw(folder: Path, compared: Compare) -> None:
    rows = [streamed("accept.call", None, 2_000_000 + i, bytes=4 << 20) for i in range(30)]
    side(folder / "lazy", rows, 0, facts=plain_facts())
    side(folder / "eager", rows[:1], 50, facts=plain_facts(accept_memory="eager"))
    found = compared("lazy", "eager")
    assert "compare boot phases" in found.findings["accept-memory"]
    assert found.verdicts == {"withheld"}


def losing(lost: int) -> Any:
    def edit(made: RunHeader, ended: RunStatus) -> tuple[RunHeader, RunStatus]:
        return made, dataclasses.replace(ended, losses=Losses(entry_without_exit=lost, no_room=0))

    return edit


def test_few_losses_are_named_and_many_on_one_side_withhold(folder: Path, compared: Compare) -> None:
    write_side(folder / "a", BOOTS)
    write_side(folder / "few", BOOTS, first=50, edit=losing(1))
    write_side(folder / "many", BOOTS, first=90, edit=losing(40))
    assert "short by as much" in compared("a", "few").findings["losses"]
    assert "withheld" not in compared("a", "few").verdicts
    assert "9.1% in many" in compared("a", "many").findings["losses"]
    assert compared("a", "many").verdicts == {"withheld"}


def test_other_programs_share_no_totals(folder: Path, compared: Compare) -> None:
    write_side(folder / "a", BOOTS)
    write_side(folder / "b", BOOTS, first=50, workload=("make", "-j8"))
    found = compared("a", "b")
    assert found.change("alloc.total")["reason"] == "other workload"
    assert found.change("alloc.p50")["verdict"] != "withheld"


def test_windows_of_other_lengths_share_no_totals(folder: Path, compared: Compare) -> None:
    def longer(made: RunHeader, ended: RunStatus) -> tuple[RunHeader, RunStatus]:
        return made, dataclasses.replace(ended, ended_ns=ended.ended_ns + 10**10)

    write_side(folder / "a", BOOTS, workload=())
    write_side(folder / "b", BOOTS, first=50, workload=(), edit=longer)
    found = compared("a", "b")
    assert "2.00s against 12.0s" in found.findings["window"]
    assert found.change("alloc.bytes")["reason"] == "other window"


def test_files_that_cannot_be_read_are_left_out_of_a_folder_with_a_word(
    folder: Path, compared: Compare
) -> None:
    """Cut off before the first checkpoint, not begun, and no run at all."""
    write_side(folder / "a", BOOTS)
    whole = (folder / "a" / "boot-000.parquet").read_bytes()
    (folder / "a" / "begun.parquet").write_bytes(whole[:8])
    (folder / "a" / "empty.parquet").touch()
    (folder / "a" / "text.parquet").write_text("hello")
    write_side(folder / "b", BOOTS, first=50)
    for word in ("a", "a/*.parquet"):
        found = compared(word, "b")
        assert "without begun.parquet, empty.parquet, cut short" in found.findings["cut-short"]
        assert "without a file: a/text.parquet is not a run (not parquet)" in found.findings["unreadable"]
        assert found.change("alloc.total")["runs_before"] == BOOTS


def test_runs_cut_short_are_left_out_with_a_word(folder: Path, compared: Compare) -> None:
    write_side(folder / "a", BOOTS)
    write_run(folder / "a" / "killed.parquet", rows_of([5.0]), 9, cut_short=True)
    write_side(folder / "b", BOOTS, first=50)
    found = compared("a", "b")
    assert "without killed.parquet, cut short, or still being recorded" in found.findings["cut-short"]
    assert found.change("alloc.total")["runs_before"] == BOOTS
