# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from memtrace.commands.probes import document, probes, table
from memtrace.errors import MemtraceError
from memtrace.probes.machine import privileges
from memtrace.traces.run import ProbeSite, Refusal

SITES = (
    ProbeSite(
        "alloc",
        "fentry:get_page_from_freelist",
        "fentry",
        "get_page_from_freelist",
        offsets=(16, 255),
        decode="order: second argument",
        inclusive_of=("zero.alloc",),
        proven=True,
        refused=(Refusal("kprobe:x", "blacklisted", "in kprobes/blacklist"),),
    ),
    ProbeSite(
        "zero.user", None, refused=(Refusal("a", "absent"), Refusal("b", "absent"), Refusal("c", "notrace"))
    ),
)


def test_an_event_without_a_site_says_why_once_for_each_reason() -> None:
    lines = table(SITES).splitlines()
    assert lines[0].split() == ["event", "kind", "time", "count", "site"]
    assert lines[1].split() == ["alloc", "fentry", "exact", "exact", "fentry:get_page_from_freelist"]
    assert lines[2].split(maxsplit=4) == ["zero.user", "-", "-", "-", "none: absent, notrace"]


def test_verbose_tells_the_function_the_decoding_and_every_refusal() -> None:
    shown = table(SITES, verbose=True)
    text = " ".join(shown.split())
    assert "site: fentry:get_page_from_freelist, in get_page_from_freelist" in text
    assert "decodes: order: second argument" in text
    assert "its time includes: zero.alloc" in text
    assert "proven: yes" in text
    assert "not kprobe:x: blacklisted (in kprobes/blacklist)" in text
    assert max(map(len, shown.splitlines())) < 80


def test_the_document_has_the_shape_of_all_documents() -> None:
    found = json.loads(json.dumps(document(SITES)))
    assert list(found) == ["schema", "run", "tables", "caveats"]
    assert found["run"]["kernel_release"] == os.uname().release
    alloc, user = found["tables"]["sites"]
    assert alloc["offsets"] == [16, 255]
    assert (user["site"], user["time"], user["count"]) == (None, None, None)
    assert [r["reason"] for r in found["tables"]["refused"]] == ["blacklisted", "absent", "absent", "notrace"]
    assert found["caveats"] == [
        {"id": "unseen-zero.user", "text": "zero.user cannot be seen here: none: absent, notrace"}
    ]


def test_without_privileges_the_command_refuses_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    held = privileges.Privileges(frozenset(), 1000, True, 1, 2, 2, True)
    monkeypatch.setattr(privileges, "privileges", lambda: held)
    result = CliRunner().invoke(probes, [])
    assert isinstance(result.exception, MemtraceError)
    assert "CAP_BPF and CAP_PERFMON" in str(result.exception)


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_running_kernel_has_a_site_for_allocation() -> None:
    result = CliRunner().invoke(probes, ["--json"])
    assert result.exit_code == 0, result.output
    sites = {row["event"]: row for row in json.loads(result.stdout)["tables"]["sites"]}
    assert sites["alloc"]["site"]
    assert sites["alloc"]["count"] == "exact"


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("capsh") is None, reason="needs root and capsh")
@pytest.mark.skipif((privileges.privileges().perf_event_paranoid or 0) > 2, reason="perf_event_paranoid")
def test_with_the_capabilities_of_security_md_an_ordinary_user_has_the_sites_of_root() -> None:
    """The lines of SECURITY.md, with another user and another verb."""
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    (lines,) = re.findall(r"```\n(\s*caps=.*?)```", text, re.DOTALL)
    ours = shlex.join([sys.executable, "-m", "memtrace.cli", "probes", "--json"])
    line = lines.replace("sudo ", "").replace("$USER", "nobody").replace("memtrace record -d 5", ours)
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), PYTHONDONTWRITEBYTECODE="1")
    theirs = subprocess.check_output(["sh", "-c", line], text=True, env=env)
    assert ours not in lines
    assert json.loads(theirs) == json.loads(subprocess.check_output(shlex.split(ours), text=True, env=env))
