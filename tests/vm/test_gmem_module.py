# SPDX-License-Identifier: Apache-2.0
"""Events of gmem where KVM is a module: not loaded, with a VM of its default type, and unloaded.

Boots: 1.
"""

import pytest

from memtrace.analyzer.views import view
from memtrace.errors import MemtraceError
from memtrace.probes.topics.gmem import EVENTS
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

GMEM = {event.name for event in EVENTS}

# A VM of KVM's default type, whose first instruction halts.
PLAIN_VM = """
import ctypes, fcntl, mmap, os, struct
kvm = os.open("/dev/kvm", os.O_RDWR)
vm = fcntl.ioctl(kvm, 0xAE01, 0)
memory = mmap.mmap(-1, 1 << 20)
memory[0] = 0xF4
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
fcntl.ioctl(vm, 0x4020AE46, struct.pack("<IIQQQ", 0, 0, 0, 1 << 20, address))
vcpu = fcntl.ioctl(vm, 0xAE41, 0)
sregs = bytearray(0x138)
fcntl.ioctl(vcpu, 0x8138AE83, sregs)
sregs[0:8] = bytes(8)
sregs[12:14] = bytes(2)
fcntl.ioctl(vcpu, 0x4138AE84, bytes(sregs))
regs = bytearray(0x90)
regs[0x80:0x90] = struct.pack("<QQ", 0, 2)
fcntl.ioctl(vcpu, 0x4090AE82, bytes(regs))
fcntl.ioctl(vcpu, 0xAE80, 0)
print("ran")
"""
MODULE = f"""
memtrace record -q -f -e gmem -d 1 -o $RESULTS/none.parquet 2> $RESULTS/not-loaded
modprobe kvm_amd
cat > /tmp/vm.py <<'PY'
{PLAIN_VM}
PY
memtrace record -q -f -e gmem -o $RESULTS/plain.parquet -- python3 /tmp/vm.py > $RESULTS/ran
memtrace record -f -e gmem -a -o $RESULTS/gone.parquet -- sh -c 'rmmod kvm_amd && rmmod kvm' 2> $RESULTS/gone
"""


def test_kvm_as_a_module(guest: Guest) -> None:
    """Not loaded, with a VM that has no private memory, and unloaded while recording."""
    result = guest("debian-6.12", MODULE, time_limit_s=600)
    folder = result.results
    assert (folder / "not-loaded").read_text() == (
        "memtrace: none of these events can be seen: KVM is not loaded: modprobe kvm_amd or kvm_intel before "
        "recording gmem events\n"
    )
    assert (folder / "ran").read_text() == "ran\n"
    plain = open_run(folder / "plain.parquet")
    assert [(vm.kind, vm.private) for vm in plain.status.vms] == [("default", False)]
    with pytest.raises(MemtraceError, match=r"no private memory in it: VM 1 cannot have any"):
        view(plain, "gmem")
    kinds = {s.event: s.kind for s in plain.header.manifest if s.event in GMEM}
    # Two are of the core kernel, and this one has no guest_memfd that can be mapped.
    assert {event for event, kind in kinds.items() if kind != "kprobe"} == {
        "gmem.assign",
        "gmem.map",
        "gmem.split",
    }
    assert result.status == 0
    gone = open_run(folder / "gone.parquet")
    assert gone.status.complete and "gmem.fault" in gone.status.gone
    assert "a kernel module was unloaded while recording" in (folder / "gone").read_text()
