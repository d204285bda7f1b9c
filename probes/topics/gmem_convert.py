# SPDX-License-Identifier: Apache-2.0
"""gmem.convert: KVM_SET_MEMORY_ATTRIBUTES, where that is how this kernel converts."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from memtrace.probes.sites.ladder import Ladder, resolve
from memtrace.probes.sites.system import System
from memtrace.probes.topics.gmem_attach import plain, with_helpers
from memtrace.traces.run import Refusal

IN_PLACE = ("kvm_gmem_ioctl", "__kvm_gmem_set_attributes", "kvm_gmem_set_attributes")
IN_PLACE_SETTING = Path("/sys/module/kvm/parameters/gmem_in_place_conversion")
CHANGE = "kvm_arch_pre_set_memory_attributes"


def convert_ladder(system: System) -> Ladder:
    """Return the ladder for the VM's ioctl, or an empty one that says why no conversion goes through it."""
    if refusal := _in_place(system):
        return Ladder("gmem.convert", (), (refusal,))
    decode = "KVM_SET_MEMORY_ATTRIBUTES; range: user's struct; changed: kvm_arch_pre_set_memory_attributes()"
    ladder = plain(system, "gmem.convert", "kvm_vm_ioctl", decode)
    ladder = with_helpers(system, ladder, {"MT_FN_GMEM_CHANGE": (CHANGE, "entry", "mt_gmem_change")})
    sees = {"MT_GMEM_SEES_CHANGES": "1"} if "MT_FN_GMEM_CHANGE" in ladder.macros else {}
    return dataclasses.replace(ladder, macros=ladder.macros | sees)


def _in_place(system: System) -> Refusal | None:
    """Return why kvm_vm_ioctl() sees no conversion, or None if it sees them.

    It sees none where they are made on the guest_memfd's own descriptor.
    """
    ioctl = resolve(system, IN_PLACE)
    if ioctl is None:
        return None
    with contextlib.suppress(OSError):
        if IN_PLACE_SETTING.read_text().strip() in ("N", "0"):
            return None
    return Refusal(
        ioctl,
        "failed",
        "memory is converted by an ioctl of the guest_memfd (gmem_in_place_conversion), which is not"
        " decoded; kvm_vm_ioctl sees none of it",
    )
