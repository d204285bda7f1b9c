# SPDX-License-Identifier: Apache-2.0
"""Call chains of perf script, in what it prints them with and without."""

from __future__ import annotations

import pytest

from .conftest import Import, Text

EVENT = "perf  6429 [000]    22.498450: kmem:mm_page_alloc: page=0x176a17 pfn=1534487 order=0 gfp_flags=X\n"


@pytest.mark.parametrize(
    "kernel",
    [" ([kernel.kallsyms])", " (/lib/modules/6.12.0/build/vmlinux)", " ([guest_memfd])", " (inlined)", ""],
)
@pytest.mark.parametrize("offset", ["+0x22e", ""])
def test_frames_of_the_kernel_are_those_in_its_half(
    import_: Import, text: Text, kernel: str, offset: str
) -> None:
    """Whatever file their symbols are of; and vdso is not the kernel's, for all its brackets."""
    chain = (
        f"\tffffffffbe23e32e get_page_from_freelist{offset}{kernel}\n"
        f"\tffffffffbe23e000 __alloc_pages_noprof{offset}{kernel}\n"
        "\t7ffd16bcd8e8 __vdso_clock_gettime+0x18 ([vdso])\n"
        "\t5651468729c1 [unknown] (/usr/bin/perf)\n\n"
    )
    run = import_(text(EVENT + chain))
    (row,) = run.of("alloc")
    assert row["stack"] == "__alloc_pages_noprof;get_page_from_freelist"
    (source,) = run.header.sources
    assert source.unparsed == 0
