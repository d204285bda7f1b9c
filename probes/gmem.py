# SPDX-License-Identifier: Apache-2.0
"""gmem.*: private memory of virtual machines, as the host prepares it (guest_memfd, 6.8 on).

Each event is one function from entry to return; the times are nested as said at the
head of gmem.bpf.c.  What the numbers are:

gmem.fault     kvm_mmu_page_fault(), of VMs that can have private memory; FAILED: an error
               (to user space, e.g. to convert), RETRIED: the guest takes it again.  Both are
               known from KVM's own counts of what became of its faults.
gmem.get       kvm_gmem_get_pfn(): a look-up, which allocates only where the page is not there.
gmem.zero      the clearing of a page before its first use, in __kvm_gmem_get_pfn() or between its
               return and the entry of the architecture's hook: see gmem_first.py.
gmem.prepare   the architecture's hook, at the first use of a page; it returns at once for a VM
               that is neither SNP nor TDX.  Kernels that call it for every look-up (7.0 on): only
               calls for a first use, that failed, or with a gmem.assign inside.
gmem.assign    rmp_make_private() or tdh_mem_page_aug(): order 0, 9, 18 is the level.
gmem.punch     bytes are those really freed, bytes_requested the length of the hole.
gmem.convert   bytes are those of a call that changed something, 0 (NOOP) of one that did not.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from memtrace.probes.btf import Btf
from memtrace.probes.functions import function_ladder
from memtrace.probes.gmem_arguments import counts, places
from memtrace.probes.gmem_first import LOOKUP, FirstUse, first_use
from memtrace.probes.ladder import Candidate, Ladder, resolve
from memtrace.probes.module import Module
from memtrace.probes.refusal import RefusedError
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

EVENTS = (
    "gmem.fault",
    "gmem.get",
    "gmem.zero",
    "gmem.prepare",
    "gmem.assign",
    "gmem.split",
    "gmem.allocate",
    "gmem.punch",
    "gmem.free",
    "gmem.convert",
    "gmem.populate",
    "gmem.prefault",
)
SOURCE = "gmem"
_PAIRED = ("FAULT", "GET", "PREPARE", "ASSIGN", "SPLIT", "ALLOCATE", "PUNCH", "FREE", "CONVERT", "POPULATE")
SITES = (
    *(f"MT_SITE_GMEM_{part}_{kind}" for part in (*_PAIRED, "PREFAULT") for kind in ("FENTRY", "KPROBE")),
    "MT_SITE_GMEM_ZERO",
    "MT_SITE_GMEM_FAULT_RAWTP",
    "MT_SITE_GMEM_SPLIT_RAWTP",
)

_FUNCTIONS = frozenset(
    f"MT_FN_GMEM_{part}"
    for part in (*_PAIRED, "PREFAULT", "FALLOCATE", "LOOKUP", "FOLIO", "CHANGE", "DETAIL", "DESTROY")
)
"""Macros that make the programs of one event; the others are for all."""
NEEDS = {"gmem.zero": ("gmem.get",), "gmem.prepare": ("gmem.get",)}

GET = "kvm_gmem_get_pfn"
BIND = ("kvm_gmem_bind", "kvm_gmem_commit_memory_region")
HOOKS = ("kvm_arch_gmem_prepare", "kvm_arch_gmem_make_private")
IN_PLACE = ("kvm_gmem_ioctl", "__kvm_gmem_set_attributes", "kvm_gmem_set_attributes")
IN_PLACE_SETTING = Path("/sys/module/kvm/parameters/gmem_in_place_conversion")
CHANGE = "kvm_arch_pre_set_memory_attributes"
DETAIL = "kvm_tdp_page_fault"
_GUEST = "vm, vcpu, gfn: arguments"

_OFFSETS = {
    "MT_KVM_VCPU_KVM": ("kvm_vcpu", "kvm"),
    "MT_KVM_VCPU_ID": ("kvm_vcpu", "vcpu_id"),
    "MT_KVM_SLOT_GFN": ("kvm_memory_slot", "base_gfn"),
    "MT_KVM_SLOT_PAGES": ("kvm_memory_slot", "npages"),
    "MT_KVM_SLOT_FILE": ("kvm_memory_slot", "gmem.file"),
    "MT_KVM_SLOT_PGOFF": ("kvm_memory_slot", "gmem.pgoff"),
    "MT_KVM_FILE_PRIVATE": ("file", "private_data"),
    "MT_KVM_FILE_INODE": ("file", "f_inode"),
    "MT_KVM_INODE_MAPPING": ("inode", "i_mapping"),
    "MT_KVM_MAPPING_PAGES": ("address_space", "nrpages"),
    "MT_KVM_FOLIO_INDEX": ("folio", "index"),
}
_OPTIONAL = {
    "MT_KVM_PID": ("kvm", "userspace_pid"),
    "MT_KVM_TYPE": ("kvm", "arch.vm_type"),
    "MT_KVM_HAS_PRIVATE": ("kvm", "arch.has_private_mem"),
    "MT_KVM_CLOCK_OFFSET": ("kvm", "arch.kvmclock_offset"),
    "MT_KVM_FAULT_PRIVATE": ("kvm_page_fault", "is_private"),
}
_STATS = ("fixed", "emulate", "spurious", "taken")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """One for each event; all empty, with one reason, where KVM has no guest_memfd to see."""
    refusal = why_none(system)
    btf = None if refusal else system.kvm_btf
    macros = offsets(btf) if btf else None
    if refusal is None and macros is None:
        refusal = Refusal("kvm", "absent", "no BTF of KVM to tell where its structures hold what")
    if refusal is not None or btf is None or macros is None:
        return tuple(Ladder(event, (), (refusal,) if refusal else ()) for event in EVENTS)
    get, first = _get(system, btf), first_use(system, btf)
    made = {
        "gmem.fault": _fault(system),
        "gmem.get": get,
        "gmem.zero": _zero(system, btf, get, first),
        "gmem.prepare": _prepare(system, btf, get, first),
        "gmem.assign": _assign(system),
        "gmem.split": _split(system),
        **_fallocate(system, btf),
        "gmem.free": _plain(
            system, "gmem.free", "kvm_gmem_free_folio", "FREE", "folio: argument; gfn: in a hole"
        ),
        "gmem.convert": _convert(system),
        "gmem.populate": _populate(system, btf),
        "gmem.prefault": _plain(
            system,
            "gmem.prefault",
            "kvm_vcpu_ioctl",
            "PREFAULT",
            "KVM_PRE_FAULT_MEMORY; range: user's struct",
        ),
    }
    # Each event must compile with the others left out.
    shared = {k: v for ladder in made.values() for k, v in ladder.macros.items() if k not in _FUNCTIONS}
    shared |= macros | counts(system, btf) | {"MT_GMEM": "1"}
    made = {
        event: dataclasses.replace(ladder, macros=ladder.macros | shared) for event, ladder in made.items()
    }
    return tuple(made[event] for event in EVENTS)


def why_none(system: System) -> Refusal | None:
    """Why no event of guest_memfd can be seen here, if that is so."""
    if not system.symbols.names("kvm_vcpu_ioctl"):
        if system.config.get("CONFIG_KVM") == "n":
            return Refusal("kvm", "config missing", "this kernel has no KVM: CONFIG_KVM is not set")
        return Refusal(
            "kvm", "absent", "KVM is not loaded: modprobe kvm_amd or kvm_intel before recording gmem events"
        )
    if not system.symbols.names("kvm_gmem_get_pfn"):
        return Refusal(
            "kvm", "absent", "this KVM has no guest_memfd (6.8 on, with private memory configured)"
        )
    return None


def offsets(btf: Btf) -> dict[str, str] | None:
    """Macros of where KVM's structures hold what; None if one that must be known is not."""
    found = {macro: btf.offset_of(*where) for macro, where in _OFFSETS.items()}
    if None in found.values():
        return None
    # struct kvm_gmem, later struct gmem_file: its VM is the first member of both.
    found["MT_KVM_GMEM_KVM"] = btf.offset_of("kvm_gmem", "kvm") or btf.offset_of("gmem_file", "kvm") or 0
    optional = {macro: btf.offset_of(*where) for macro, where in _OPTIONAL.items()}
    stats = {f"MT_KVM_STAT_{name.upper()}": btf.offset_of("kvm_vcpu", f"stat.pf_{name}") for name in _STATS}
    found |= optional | (stats if None not in stats.values() else {})
    return {macro: str(value) for macro, value in found.items() if value is not None}


def _plain(
    system: System, event: str, function: str, part: str, decode: str, inside: tuple[str, ...] = ()
) -> Ladder:
    return function_ladder(
        system,
        event,
        (function,),
        f"MT_FN_GMEM_{part}",
        f"MT_SITE_GMEM_{part}",
        f"mt_gmem_{part.lower()}",
        decode,
        inside,
    )


def _tracepoint(event: str, name: str, part: str, decode: str) -> Candidate:
    return Candidate(
        event=event,
        site=f"tracepoint:kvm:{name}",
        kind="tracepoint",
        macro=f"MT_SITE_GMEM_{part}_RAWTP",
        function=None,
        attach=lambda module: module.attach_rawtp(name, f"mt_gmem_{part.lower()}_rawtp"),
        decode=decode,
        time="unknown",
    )


def _with_helpers(system: System, ladder: Ladder, helpers: dict[str, tuple[str, str, str]]) -> Ladder:
    """``ladder`` with more hooks set beside each function candidate, all or none.

    ``helpers``: macro of the function's name -> (function, "entry" or "exit", stem of the kprobe program).
    """
    found = {macro: h for macro, h in helpers.items() if system.symbols.names(h[0])}
    candidates = tuple(
        dataclasses.replace(c, attach=partial(_attach_all, first=c.attach, kind=c.kind, helpers=found))
        if c.kind in ("fentry", "kprobe")
        else c
        for c in ladder.candidates
    )
    names = {macro: name for macro, (name, _, _) in found.items()}
    return dataclasses.replace(ladder, candidates=candidates, macros=ladder.macros | names)


def _attach_all(
    module: Module, first: Callable[[Module], None], kind: str, helpers: dict[str, tuple[str, str, str]]
) -> None:
    for function, where, program in helpers.values():
        _attach_helper(module, kind, function, where, program)
    first(module)


def _attach_helper(module: Module, kind: str, function: str, where: str, program: str) -> None:
    if kind == "fentry":
        module.attach_fentry(function, entry=where == "entry", exit_=where == "exit")
    elif where == "entry":
        module.attach_kprobe(function, f"{program}_kprobe")
    else:
        module.attach_kretprobe(function, f"{program}_kretprobe")


def _fault(system: System) -> Ladder:
    ladder = _plain(
        system,
        "gmem.fault",
        "kvm_mmu_page_fault",
        "FAULT",
        f"{_GUEST}; private: kvm_tdp_page_fault(); failed, retried: return value, vcpu->stat",
        ("gmem.get", "gmem.zero", "gmem.prepare", "gmem.assign"),
    )
    helpers = {
        "MT_FN_GMEM_DETAIL": (DETAIL, "entry", "mt_gmem_detail"),
        "MT_FN_GMEM_DESTROY": ("kvm_arch_destroy_vm", "entry", "mt_gmem_destroy"),
    }
    ladder = _with_helpers(system, ladder, helpers)
    last = _tracepoint(
        "gmem.fault", "kvm_page_fault", "FAULT", "vcpu, gpa: arguments; how it ended: not seen"
    )
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def _get(system: System, btf: Btf) -> Ladder:
    parameters = btf.parameters(GET)
    if parameters is None or "max_order" not in parameters:
        return Ladder("gmem.get", (), (Refusal(GET, "absent", "no BTF of its arguments"),))
    decode = f"{_GUEST}; pfn, order: what the arguments pfn and max_order point to"
    ladder = _plain(system, "gmem.get", GET, "GET", decode, ("alloc", "gmem.zero", "gmem.prepare"))
    bind, macros = _bind(system, btf)
    candidates = tuple(
        dataclasses.replace(
            c,
            attach=partial(_attach_with_bind, first=c.attach, bind=bind)
            if c.kind == "fentry"
            else partial(_attach_once, first=c),
        )
        for c in ladder.candidates
    )
    place = {"MT_GMEM_GET_ORDER_ARG": str(parameters.index("max_order"))}
    return dataclasses.replace(
        ladder, candidates=candidates, macros=ladder.macros | place | (macros if candidates else {})
    )


def _bind(system: System, btf: Btf) -> tuple[str | None, dict[str, str]]:
    """The function that makes a slot stand for a range of a guest_memfd, and the macros of its program."""
    ladder = function_ladder(system, "gmem.get", BIND, "MT_FN_GMEM_BIND", "", "", "")
    function = resolve(system, BIND)
    parameters = btf.parameters(function) if function else None
    if not ladder.macros or parameters is None or parameters[:2] != ("kvm", "slot"):
        return None, {}
    return function, ladder.macros | {"MT_GMEM_BIND_ARGS": str(len(parameters))}


def _attach_with_bind(module: Module, first: Callable[[Module], None], bind: str | None) -> None:
    first(module)
    # Without it gfns of a file are known from the first fault on.
    if bind is not None:
        with contextlib.suppress(RefusedError):
            module.attach_fentry(bind, entry=False)


def _populate(system: System, btf: Btf) -> Ladder:
    found = places(btf, "kvm_gmem_populate")
    if isinstance(found, Refusal):
        return Ladder("gmem.populate", (), (found,))
    ladder = _plain(
        system, "gmem.populate", "kvm_gmem_populate", "POPULATE", f"{_GUEST}; pages: return value"
    )
    return dataclasses.replace(ladder, macros=ladder.macros | found)


def _hook(system: System, btf: Btf) -> Ladder:
    """The architecture's hook, whenever it is called."""
    hook = resolve(system, HOOKS)
    if hook is None:
        why = "no hook of the architecture in this kernel (CONFIG_KVM_AMD_SEV), or renamed"
        return Ladder("gmem.prepare", (), (Refusal(HOOKS[0], "absent", why),))
    parameters = btf.parameters(hook)
    if parameters is None or "gfn" not in parameters or "pfn" not in parameters:
        return Ladder("gmem.prepare", (), (Refusal(hook, "absent", "no BTF to tell pfn from gfn"),))
    macros = {f"MT_GMEM_PREPARE_{name.upper()}_ARG": str(parameters.index(name)) for name in ("gfn", "pfn")}
    macros["MT_GMEM_PREPARE_ARGS"] = str(len(parameters))
    if "nr_pages" in parameters:
        macros["MT_GMEM_PREPARE_HAS_PAGES"] = "1"
    decode = (
        f"gfn, pfn, {parameters[3] if len(parameters) > 3 else 'order'}: arguments, by their names in BTF"
    )
    ladder = _plain(system, "gmem.prepare", hook, "PREPARE", decode, ("gmem.assign",))
    candidates = tuple(
        dataclasses.replace(c, attach=partial(_attach_once, first=c)) for c in ladder.candidates
    )
    return dataclasses.replace(ladder, candidates=candidates, macros=ladder.macros | macros)


def _prepare(system: System, btf: Btf, get: Ladder, first: FirstUse) -> Ladder:
    ladder = _hook(system, btf)
    if first.hook_tells or not ladder.candidates:
        return ladder
    refused = first.refused or (() if get.candidates else get.ruled_out)
    if refused:
        return Ladder("gmem.prepare", (), (*ladder.ruled_out, *refused))
    candidates = tuple(
        dataclasses.replace(
            c,
            decode=f"called for each look-up, kept at first uses; {c.decode}",
            attach=partial(_attach_first, first=first, kind=c.kind, then=c),
        )
        for c in ladder.candidates
        if c.kind in first.kinds
    )
    macros = ladder.macros | first.macros | {"MT_GMEM_HOOK_FOR_ALL": "1"}
    return dataclasses.replace(ladder, candidates=candidates, macros=macros)


def _zero(system: System, btf: Btf, get: Ladder, first: FirstUse) -> Ladder:
    """Its end may be the entry of gmem.prepare's function, whose programs are there anyway."""
    hook = _hook(system, btf)
    refused = first.refused or (() if get.candidates else get.ruled_out)
    if refused:
        return Ladder("gmem.zero", (), refused)
    begin = first.functions[0][0]
    decode = "a folio not up to date when looked up: from there to when it is cleared, and some ns of checks"
    candidates = []
    for kind in first.kinds:
        then = next((c for c in hook.candidates if c.kind == kind), None)
        end = then.function if then else GET
        candidates.append(
            Candidate(
                event="gmem.zero",
                site=f"{kind}:{begin}..{end}",
                kind=kind,
                macro="MT_SITE_GMEM_ZERO",
                function=LOOKUP,
                attach=partial(_attach_first, first=first, kind=kind, then=then),
                decode=decode,
            )
        )
    return Ladder("gmem.zero", tuple(candidates), (), first.macros | hook.macros)


def _attach_first(module: Module, first: FirstUse, kind: str, then: Candidate | None) -> None:
    """What tells first uses, then the hook; needs gmem.get, whose intervals they are told in."""
    if GET not in module.hooked:
        raise RefusedError("absent", "needs gmem.get, which has no site here")
    for function, program in first.functions:
        if function not in module.hooked:
            _attach_helper(module, kind, function, "exit", program)
            module.hooked.add(function)
    if then is not None:
        then.attach(module)


def _assign(system: System) -> Ladder:
    decode = "gpa, level: arguments (order 9 times the level)"
    if Path("/sys/module/kvm_intel/parameters/tdx").exists() and system.symbols.names("tdh_mem_page_aug"):
        ladder = _plain(system, "gmem.assign", "tdh_mem_page_aug", "ASSIGN", decode)
        parameters = system.btf.parameters("tdh_mem_page_aug") if system.btf else None
        more = {"MT_GMEM_ASSIGN_TDX": "1", "MT_GMEM_ASSIGN_ARGS": str(len(parameters or ()) or 6)}
    else:
        ladder = _plain(system, "gmem.assign", "rmp_make_private", "ASSIGN", f"pfn, {decode}")
        more = {"MT_GMEM_ASSIGN_ARGS": "5"}
    return dataclasses.replace(ladder, macros=ladder.macros | more)


def _split(system: System) -> Ladder:
    ladder = _plain(system, "gmem.split", "psmash", "SPLIT", "pfn: argument; order: 9, what was split")
    last = _tracepoint(
        "gmem.split", "kvm_rmp_fault", "SPLIT", "gpa, pfn, psmash_ret: arguments, if rmp_level > 1"
    )
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def _fallocate(system: System, btf: Btf) -> dict[str, Ladder]:
    """gmem.allocate and gmem.punch: one function serves both."""
    bind, _ = _bind(system, btf)
    made = {}
    for event, part, said in (
        ("gmem.allocate", "ALLOCATE", "bytes: how the file grew meanwhile, by whomever"),
        ("gmem.punch", "PUNCH", "bytes: freed inside"),
    ):
        ladder = function_ladder(
            system,
            event,
            ("kvm_gmem_fallocate",),
            "MT_FN_GMEM_FALLOCATE",
            f"MT_SITE_GMEM_{part}",
            "mt_gmem_fallocate",
            f"length: argument; {said}; gfn: where the file is bound",
            ("alloc",) if part == "ALLOCATE" else ("gmem.free",),
        )
        candidates = tuple(
            dataclasses.replace(
                c, attach=partial(_attach_with_bind, first=partial(_attach_once, first=c), bind=bind)
            )
            if c.kind == "fentry"
            else dataclasses.replace(c, attach=partial(_attach_once, first=c))
            for c in ladder.candidates
        )
        made[event] = dataclasses.replace(ladder, candidates=candidates)
    return made


def _attach_once(module: Module, first: Candidate) -> None:
    if first.function in module.hooked:
        return
    first.attach(module)
    if first.function is not None:
        module.hooked.add(first.function)


def _convert(system: System) -> Ladder:
    if refusal := _in_place(system):
        return Ladder("gmem.convert", (), (refusal,))
    decode = "KVM_SET_MEMORY_ATTRIBUTES; range: user's struct; changed: kvm_arch_pre_set_memory_attributes()"
    ladder = _plain(system, "gmem.convert", "kvm_vm_ioctl", "CONVERT", decode)
    ladder = _with_helpers(system, ladder, {"MT_FN_GMEM_CHANGE": (CHANGE, "entry", "mt_gmem_change")})
    sees = {"MT_GMEM_SEES_CHANGES": "1"} if "MT_FN_GMEM_CHANGE" in ladder.macros else {}
    return dataclasses.replace(ladder, macros=ladder.macros | sees)


def _in_place(system: System) -> Refusal | None:
    """Why kvm_vm_ioctl() sees no conversion: they are made on the guest_memfd's own descriptor."""
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
