# SPDX-License-Identifier: Apache-2.0
"""The words for the stretches of a boot, in the order in which they happen.

start_kernel() (init/main.c) gives the kernel's ones; which source can see which,
and how exactly, differs: a Phase carries both.
"""

from __future__ import annotations

PHASES: dict[str, str] = {
    "firmware": "from reset to the start of the boot loader",
    "loader": "boot loader and EFI stub, to ExitBootServices",
    "early": "kernel entry to the hand-over of memory: memblock, memmap of the first section (setup_arch)",
    "memory": "memblock_free_all(): with accept_memory=eager and no deferred init, acceptance",
    "core": "from there to page_alloc_init_late(): scheduler, clocks, other CPUs",
    "deferred": "deferred init of struct pages, one per node (deferred_init_memmap(), mm/mm_init.c)",
    "initcalls": "do_basic_setup() to free_initmem()",
    "initramfs": "the first /init, where there is one, to the root file system's init",
    "userspace": "that init to the default target",
}
"""Name and meaning of each phase."""
