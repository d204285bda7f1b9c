# SPDX-License-Identifier: Apache-2.0
"""gmem.get, gmem.zero and gmem.prepare: a look-up, and what it does for the first use of a page."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder, resolve
from memtrace.probes.sites.system import System
from memtrace.probes.topics.gmem_attach import GUEST, attach_helper, attach_once, plain
from memtrace.probes.topics.gmem_first import LOOKUP, FirstUse
from memtrace.traces.run import Refusal

GET = "kvm_gmem_get_pfn"
MAP = "kvm_gmem_fault_user_mapping"
BIND = ("kvm_gmem_bind", "kvm_gmem_commit_memory_region")
HOOKS = ("kvm_arch_gmem_prepare", "kvm_arch_gmem_make_private")


def get_ladder(system: System, btf: Btf) -> Ladder:
    """Return the ladder of gmem.get: a look-up, whether or not it makes the page."""
    parameters = btf.parameters(GET)
    if parameters is None or "max_order" not in parameters:
        return Ladder("gmem.get", (), (Refusal(GET, "not known", "no BTF of its arguments"),))
    decode = f"{GUEST}; pfn, order: what the arguments pfn and max_order point to"
    ladder = plain(system, "gmem.get", GET, decode, ("alloc", "gmem.zero", "gmem.prepare"))
    slot, macros = binding(system, btf)
    candidates = tuple(
        dataclasses.replace(
            c,
            attach=partial(attach_with_bind, first=c.attach, bind=slot)
            if c.kind == "fentry"
            else partial(attach_once, first=c),
        )
        for c in ladder.candidates
    )
    place = {"MT_GMEM_GET_ORDER_ARG": str(parameters.index("max_order"))}
    return dataclasses.replace(
        ladder, candidates=candidates, macros=ladder.macros | place | (macros if candidates else {})
    )


def map_ladder(system: System, btf: Btf) -> Ladder:
    """Return the ladder of gmem.map: a fault of user space on a guest_memfd that it has mapped."""
    offsets = {
        "MT_KVM_VMF_VMA": btf.offset_of("vm_fault", "vma"),
        "MT_KVM_VMF_PGOFF": btf.offset_of("vm_fault", "pgoff"),
        "MT_KVM_VMF_PAGE": btf.offset_of("vm_fault", "page"),
        "MT_KVM_VMA_FILE": btf.offset_of("vm_area_struct", "vm_file"),
    }
    if None in offsets.values():
        why = "no BTF to tell where a fault has its file and its page"
        return Ladder("gmem.map", (), (Refusal(MAP, "not known", why),))
    decode = "file, page: struct vm_fault; gfn: where the file is bound"
    ladder = plain(system, "gmem.map", MAP, decode, ("alloc", "gmem.zero"))
    return dataclasses.replace(
        ladder, macros=ladder.macros | {name: str(value) for name, value in offsets.items()}
    )


def binding(system: System, btf: Btf) -> tuple[str | None, dict[str, str]]:
    """Return the function that binds a memslot to a range of a guest_memfd, and the macros of its program.

    Returns None and no macros where fentry can't serve it, or BTF does not give its arguments.
    """
    ladder = function_ladder(system, "gmem.get", BIND, "", name="MT_FN_GMEM_BIND")
    function = resolve(system, BIND)
    parameters = btf.parameters(function) if function else None
    if not ladder.macros or parameters is None or parameters[:2] != ("kvm", "slot"):
        return None, {}
    return function, ladder.macros | {"MT_GMEM_BIND_ARGS": str(len(parameters))}


def attach_with_bind(module: Module, first: Callable[[Module], None], bind: str | None) -> None:
    """Attach a candidate, and hook the return of the function ``bind`` if the kernel lets us.

    Raises RefusedError if the candidate is refused.
    """
    first(module)
    # Without it the gfns of a file are known only from the first fault on.
    if bind is not None:
        with contextlib.suppress(RefusedError):
            module.attach_fentry(bind, entry=False)


def _hook(system: System, btf: Btf) -> Ladder:
    """Return the ladder of the architecture's hook, for every call of it."""
    hook = resolve(system, HOOKS)
    if hook is None:
        why = "no hook of the architecture in this kernel (CONFIG_KVM_AMD_SEV), or renamed"
        return Ladder("gmem.prepare", (), (Refusal(HOOKS[0], "absent", why),))
    parameters = btf.parameters(hook)
    if parameters is None or "gfn" not in parameters or "pfn" not in parameters:
        return Ladder("gmem.prepare", (), (Refusal(hook, "not known", "no BTF to tell pfn from gfn"),))
    macros = {f"MT_GMEM_PREPARE_{name.upper()}_ARG": str(parameters.index(name)) for name in ("gfn", "pfn")}
    macros["MT_GMEM_PREPARE_ARGS"] = str(len(parameters))
    if "nr_pages" in parameters:
        macros["MT_GMEM_PREPARE_HAS_PAGES"] = "1"
    decode = (
        f"gfn, pfn, {parameters[3] if len(parameters) > 3 else 'order'}: arguments, by their names in BTF"
    )
    ladder = plain(system, "gmem.prepare", hook, decode, ("gmem.assign",))
    candidates = tuple(
        dataclasses.replace(c, attach=partial(attach_once, first=c)) for c in ladder.candidates
    )
    return dataclasses.replace(ladder, candidates=candidates, macros=ladder.macros | macros)


def prepare_ladder(system: System, btf: Btf, get: Ladder, first: FirstUse) -> Ladder:
    """Return the ladder of gmem.prepare: the hook at first uses, told by the hook itself or by the folio."""
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


def zero_ladder(system: System, btf: Btf, get: Ladder, first: FirstUse) -> Ladder:
    """Return the ladder of gmem.zero.

    Its end may be the entry of gmem.prepare's function, whose programs are there anyway.
    """
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
                number="either",
                function=LOOKUP,
                attach=partial(_attach_first, first=first, kind=kind, then=then),
                decode=decode,
            )
        )
    return Ladder("gmem.zero", tuple(candidates), (), first.macros | hook.macros)


def _attach_first(module: Module, first: FirstUse, kind: str, then: Candidate | None) -> None:
    """Attach what tells first uses, then the hook; raises RefusedError.

    It needs gmem.get, in whose intervals first uses are told.
    """
    if GET not in module.hooked:
        raise RefusedError("absent", "needs gmem.get, which has no site here")
    for function, program in first.functions:
        if function not in module.hooked:
            attach_helper(module, kind, function, "exit", program)
            module.hooked.add(function)
    if then is not None:
        then.attach(module)
