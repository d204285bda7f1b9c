# SPDX-License-Identifier: Apache-2.0
"""Which ways of clearing memory a run could not see, each with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.facts import fact
from memtrace.analyzer.sites import refusals
from memtrace.analyzer.tables import Column, Table
from memtrace.traces.run import LEFT_TO_ALLOCATOR

if TYPE_CHECKING:
    from memtrace.traces.run import ProbeSite, RunHeader

SHMEM_PATH, KHUGEPAGED_PATH = "shmem", "khugepaged's holes"
_HUGE_PATH = "huge pages, hugetlb"
_PATHS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("allocation", "zero.alloc", ("get_page_from_freelist", "kernel_init_pages", "clear_highpages")),
    ("bulk allocation (vmalloc)", "zero.alloc", ("alloc_pages_bulk",)),
    ("compaction's targets", "zero.alloc", ("compaction_alloc", "split_map_pages", "release_free_list")),
    ("contiguous ranges (CMA, 1 GiB)", "zero.alloc", ("alloc_contig", "split_free_pages")),
    (_HUGE_PATH, "zero.user", ("folio_zero_user", "clear_huge_page")),
    (SHMEM_PATH, "zero.page", ("shmem_",)),
    (KHUGEPAGED_PATH, "zero.page", ("collapse_",)),
    ("zero on free", "zero.free", ("__free_pages_ok", "free_pcp_prepare", "free_unref_page", "free_")),
)
_Row = dict[str, "str | None"]
_NO_PROBE = "no site takes a probe here (`memtrace probes -v` says why)"
_NEVER = (
    ("guest_memfd", "its clearing is inlined into the kvm module"),
    ("before the recording", "boot, and what was in pools and caches when it began"),
)


def coverage(header: RunHeader) -> Table:
    """One row for each way of clearing: the site that sees it, or why none does."""
    sites = {site.event: site for site in header.manifest}
    rows = [_row(path, sites.get(event), functions, header) for path, event, functions in _PATHS]
    rows = [split for row in rows for split in _huge_pages(row, rows[0], sites.get("zero.user"), header)]
    rows += [{"path": path, "seen": "no", "by": None, "why": why} for path, why in _NEVER]
    columns = (Column("path", "path"), Column("seen", "seen"), Column("by", "by"))
    notes = tuple(f"{row['path']}: {row['why']}" for row in rows if row["why"])
    return Table(
        "coverage", "Ways of clearing", ("path", "seen", "by", "why"), tuple(rows), columns, notes=notes
    )


def _huge_pages(row: _Row, allocation: _Row, user: ProbeSite | None, header: RunHeader) -> tuple[_Row, ...]:
    """``row``; for huge pages two, where init_on_alloc may have made the clear at their fault superfluous.

    ``allocation``: the row of the allocator's clears.
    """
    if row["path"] != _HUGE_PATH or row["seen"] != "yes" or user is None or user.proven:
        return (row,)
    if fact(header, "init_on_alloc") != "yes":
        return (row,)
    huge, hugetlb = row | {"path": "huge pages"}, row | {"path": "hugetlb, at faults"}
    if user.unproven != LEFT_TO_ALLOCATOR:
        why = "from 6.14 on init_on_alloc alone clears them, as zero.alloc; not tried whether it does here"
        return huge | {"why": why}, hugetlb
    why = f"{LEFT_TO_ALLOCATOR}: they are in zero.alloc"
    return huge | {"seen": allocation["seen"], "by": allocation["by"], "why": why}, hugetlb


def sees(header: RunHeader, path: str) -> bool:
    """Whether a run saw each clear of one of these ways."""
    sites = {site.event: site for site in header.manifest}
    found = (_row(p, sites.get(event), names, header) for p, event, names in _PATHS if p == path)
    return any(row["seen"] == "yes" for row in found)


def _row(path: str, site: ProbeSite | None, functions: tuple[str, ...], header: RunHeader) -> _Row:
    no: _Row = {"path": path, "seen": "no", "by": None}
    if site is None or site.site is None:
        if path == "zero on free" and fact(header, "init_on_free") == "no":
            return {"path": path, "seen": "off", "by": None, "why": None}
        return no | {"why": (refusals(site) if site else "") or "not asked for"}
    if site.kind == "inferred":
        seen = "derived" if path == "allocation" else "no"
        return {"path": path, "seen": seen, "by": site.site, "why": _NO_PROBE}
    if site.kind == "sampling":
        return {"path": path, "seen": "time only", "by": site.site, "why": "sampled: no pages"}
    words = f"{site.function or ''} {site.decode}"
    if site.kind != "callsite" or any(name in words for name in functions):
        return {"path": path, "seen": "yes", "by": site.site, "why": None}
    return no | {"why": f"no call that clears was found in {', '.join(functions)}"}
