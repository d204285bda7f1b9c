# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from memtrace.commands.doctor import doctor, document, page
from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.machine.privileges import privileges
from memtrace.probes.recorder.diagnosis import Diagnosis
from memtrace.traces.run import Fact, ProbeSite, Refusal

SITES = (
    ProbeSite("alloc", "rawtp:mm_page_alloc", "rawtp", time="estimated"),
    ProbeSite("zero.user", None, refused=(Refusal("fentry:folio_zero_user", "notrace"),)),
)
NO_SYSTEM = Path("/nonexistent")


def diagnosis(root: Path, bcc: str = "yes", sites: tuple[ProbeSite, ...] | None = SITES) -> Diagnosis:
    return Diagnosis(
        describe_system(root), privileges(root), Fact("bcc", bcc, "x"), sites, "as nothing is known"
    )


def open_files() -> list[str]:
    """What this process's file descriptors refer to."""
    targets = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            targets.append(str(fd.readlink()))
    return targets


@pytest.fixture
def here() -> Diagnosis:
    """This machine, with sites that do not depend on it."""
    return diagnosis(Path("/"))


def test_the_page_is_under_80_columns_and_ends_with_the_verdict(here: Diagnosis) -> None:
    lines = page(here).splitlines()
    assert [line for line in lines if len(line) > 79] == []
    assert lines[-1] == "memtrace record works here: alloc (time estimated); not zero.user"


def test_each_cure_is_printed_once_below_all_that_it_cures(here: Diagnosis) -> None:
    held = dataclasses.replace(
        here.held, effective=frozenset(), uid=0, contained=True, initial_user_namespace=True
    )
    facts = (Fact("kcore", "hidden", "a device"), Fact("seccomp", "filter", "Seccomp 2"))
    told = dataclasses.replace(here, held=held, container=facts)
    by_id = {remark.id: remark for remark in told.remarks}
    assert by_id["container"].command == by_id["kcore-hidden"].command
    text = " ".join(page(told).split())
    assert text.count("--cap-add=BPF") == 1
    lacks, hidden = text.index("nobody can add what it was not given"), text.index("hides /proc/kcore")
    assert max(lacks, hidden) < text.index("--cap-add=BPF")


def test_lesser_needs_that_one_command_meets_have_it_once(here: Diagnosis) -> None:
    held = dataclasses.replace(
        here.held,
        effective=frozenset({"CAP_BPF", "CAP_PERFMON"}),
        contained=False,
        initial_user_namespace=True,
        kptr_restrict=1,
    )
    told = dataclasses.replace(here, held=held)
    missing = [r for r in told.remarks if r.id in ("cap_syslog", "cap_dac_read_search", "cap_sys_rawio")]
    assert len({r.command for r in missing}) == 1 < len(missing)
    text = page(told)
    assert all(f"{name} " in text or f"{name}\n" in text for name in ("CAP_SYSLOG", "CAP_SYS_RAWIO"))
    assert text.count("    sudo /") + text.count("    sudo memtrace") == 1


def test_each_reason_that_occurs_is_explained_and_no_other(here: Diagnosis) -> None:
    text = page(here)
    assert "not fentry:folio_zero_user: notrace" in text
    assert "notrace:  the kernel was built without a place to hook this function" in text
    assert "blacklisted:" not in text


def test_a_machine_that_tells_nothing_is_a_page_of_unknowns() -> None:
    text = page(diagnosis(NO_SYSTEM, sites=None))
    assert "machine       unknown, CPUs unknown, nodes unknown, memory unknown" in text
    assert "confidential      unknown" in text
    assert "command line  unknown" in text
    assert "not tried, as nothing is known" in text
    assert text.splitlines()[-1] == "memtrace record: unknown here, as nothing is known"


def test_a_capability_that_a_setting_annuls_is_of_no_use_not_missing(here: Diagnosis) -> None:
    held = dataclasses.replace(
        here.held, effective=frozenset({"CAP_SYSLOG"}), kptr_restrict=2, initial_user_namespace=True
    )
    lines = page(dataclasses.replace(here, held=held)).splitlines()
    (syslog,) = [line.split() for line in lines if line.startswith("  CAP_SYSLOG ")]
    assert syslog[1:3] == ["no", "use"]
    assert any("kernel.kptr_restrict=2 hides" in line for line in lines) is False, "first what is required"


def test_every_fact_is_on_the_page(here: Diagnosis) -> None:
    words = page(here).split()
    assert [f.name for f in here.facts if f.name not in words] == []


def test_the_document_has_every_table_and_only_what_is_known(here: Diagnosis) -> None:
    found = json.loads(json.dumps(document(here)))
    assert list(found) == ["schema", "run", "tables", "caveats"]
    assert list(found["tables"]) == ["facts", "sites", "refused", "capabilities", "config"]
    assert found["run"]["kernel_release"] == os.uname().release
    assert all(set(c) == {"id", "text"} for c in found["caveats"])
    assert len({c["id"] for c in found["caveats"]}) == len(found["caveats"])


def test_sites_that_were_not_tried_are_null_in_the_document() -> None:
    found = document(diagnosis(NO_SYSTEM, sites=None))
    assert found["tables"]["sites"] is None
    assert found["run"]["recordable"] is None
    assert found["run"]["build_id"] is None


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_doctor_on_the_running_kernel() -> None:
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("memtrace doctor on ")
    assert "memtrace record works here: alloc" in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 80


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_doctor_leaves_no_mount_and_no_program_behind() -> None:
    before = Path("/proc/self/mounts").read_text()
    CliRunner().invoke(doctor, ["--json"])
    assert Path("/proc/self/mounts").read_text() == before
    assert [target for target in open_files() if "bpf-prog" in target] == []


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_doctor_works_for_nobody_and_says_what_it_could_not_see() -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c"]
    command += ["from memtrace.commands.doctor import doctor; doctor()"]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Recording needs CAP_BPF and CAP_PERFMON, which this process lacks." in done.stdout
    assert done.stdout.splitlines()[-1] == "memtrace record: unknown here, as it takes privileges to try"


def test_the_commands_import_click_alone_at_first() -> None:
    code = (
        "import sys, click; before = set(sys.modules);"
        "import memtrace.commands.doctor, memtrace.commands.probes;"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('memtrace')))"
    )
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, env=env).split()
    assert {m.partition(".")[0] for m in loaded} <= set(sys.stdlib_module_names)
