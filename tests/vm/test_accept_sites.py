# SPDX-License-Identifier: Apache-2.0
"""Where a kernel accepts, and that the reasons say so where it does not.

Boots: 3.
"""

import json

import pytest

from memtrace.tests.vm.accepts import rows
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm


def test_where_nothing_is_ever_accepted_the_reasons_say_so(guest: Guest) -> None:
    script = """
memtrace probes --json > $RESULTS/probes.json
memtrace record -f -e accept -d 1 -o $RESULTS/none.parquet 2> $RESULTS/refused
echo $? > $RESULTS/status
memtrace record -q -f -e accept,alloc -o $RESULTS/some.parquet -- python3 -c 'bytearray(4 << 20)'
"""
    folder = guest("debian-6.1", script, time_limit_s=600).results
    tables = json.loads((folder / "probes.json").read_text())["tables"]
    sites = {row["event"]: row["site"] for row in tables["sites"]}
    reasons = {row["event"]: row["reason"] for row in tables["refused"]}
    ours = [event for event in sites if event.startswith("accept.")]
    assert len(ours) == 5
    assert {sites[event] for event in ours} == {None}
    # SEV-SNP guests of 6.1 set the state of pages too, but accept none.
    assert {event for event in ours if reasons[event] != "absent"} == {"accept.step"}
    assert reasons["accept.step"] == "unused"
    assert all(sites[event] for event in ("alloc", "zero.alloc", "hot.add"))
    assert (folder / "status").read_text().strip() == "1"
    said = (folder / "refused").read_text()
    assert "accept_memory: absent" in said
    assert "Traceback" not in said
    assert not (folder / "none.parquet").exists()
    # With alloc asked for too, all of them are recorded, not only victims.
    some = open_run(folder / "some.parquet")
    watched = {site.event for site in some.header.manifest if site.site}
    assert watched == {"alloc", "alloc.bulk", "alloc.contig"}
    assert sum(row["count"] for row in rows(some, "alloc")) > 100


TRY_PLATFORMS = """
cat > /tmp/try.py <<'PY'
import dataclasses, json, sys
from memtrace.probes.recorder import plan
from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.programs.module import KPROBE
from memtrace.probes.sites.system import System
from memtrace.probes.topics import accept
names = tuple(event.name for event in accept.EVENTS)
found = {}
for platform in ("TDX", "SEV-SNP"):
    for kind in ("fentry", "kprobe"):
        system = dataclasses.replace(System.of(describe_system()), confidential=platform)
        avoid = () if kind == "fentry" else ("fentry",)
        attached = plan.attach(system, names, plan.Filters(), plan.Shape(avoid=avoid))
        if kind == "kprobe":
            for name in ("arch", "step"):
                for end in ("kprobe", "kretprobe"):
                    attached.module._loaded(f"mt_accept_{name}_{end}", KPROBE)
        ours = [site for site in attached.manifest if site.event in names]
        found[f"{platform} {kind}"] = {s.event: s.site or s.refused[0].reason for s in ours}
        attached.module.close()
json.dump(found, open(sys.argv[1], "w"))
PY
python3 /tmp/try.py $RESULTS/sites.json
"""


def test_the_sites_of_tdx_and_sev_snp_are_taken_by_a_kernel_that_has_them(guest: Guest) -> None:
    """That they fire can only be seen on such a guest: there they stay unproven until they do."""
    folder = guest("accept-6.12", TRY_PLATFORMS, time_limit_s=600).results
    found = json.loads((folder / "sites.json").read_text())
    for kind in ("fentry", "kprobe"):
        assert found[f"TDX {kind}"]["accept.arch"] == f"{kind}:tdx_accept_memory"
        assert found[f"TDX {kind}"]["accept.step"] == f"{kind}:try_accept_one"
        # Up to 6.14 the file of these two is built without places to hook.
        assert found[f"SEV-SNP {kind}"]["accept.arch"] == "notrace"
        assert found[f"SEV-SNP {kind}"]["accept.step"] in ("notrace", "absent")
        assert found[f"SEV-SNP {kind}"]["accept.call"] == f"{kind}:accept_memory"


def test_a_step_of_sev_snp_on_7_3_is_taken_where_it_is_a_function(guest: Guest) -> None:
    folder = guest("debian-7.3", TRY_PLATFORMS, time_limit_s=600).results
    found = json.loads((folder / "sites.json").read_text())
    for kind in ("fentry", "kprobe"):
        assert found[f"SEV-SNP {kind}"]["accept.arch"] == f"{kind}:snp_accept_memory"
        assert found[f"SEV-SNP {kind}"]["accept.step"] == f"{kind}:set_pages_state"
