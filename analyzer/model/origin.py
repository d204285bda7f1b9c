# SPDX-License-Identifier: Apache-2.0
"""Who asked for the memory: from the kernel stack of hot.request, else unknown."""

from __future__ import annotations

import re

UNKNOWN = "unknown"
_ORIGINS = (
    (r"acpi_memory_(device_add|enable_device)", "ACPI DIMM"),
    (r"virtio_mem_", "virtio-mem"),
    (r"hv_mem_hot_add|hot_add_req|handle_pg_range", "hv-balloon"),
    (r"dev_dax_kmem_|dax_kmem", "dax/kmem"),
    (r"reserve_additional_memory|xen_\w*balloon", "xen balloon"),
    (r"dlpar_", "dlpar"),
    (r"(^|;)probe_store(;|$)", "probe file"),
)
"""drivers/acpi/acpi_memhotplug.c, virtio/virtio_mem.c, hv/hv_balloon.c, dax/kmem.c, xen/balloon.c;
arch/powerpc/platforms/pseries; drivers/base/memory.c."""


def origin(stack: str | None) -> str:
    """The driver that the stack goes through."""
    if stack:
        for pattern, name in _ORIGINS:
            if re.search(pattern, stack):
                return name
    return UNKNOWN
