# SPDX-License-Identifier: Apache-2.0
"""Which tests a change can break."""

from memtrace.tests.changed import ROOT, chosen, importers_of

IMPORTERS = {
    "analyzer/scan.py": frozenset({"analyzer/views.py"}),
    "analyzer/views.py": frozenset({"tests/analyzer/test_views.py", "tests/vm/test_zero.py"}),
    "probes/recorder/plan.py": frozenset({"tests/probes/recorder/test_watched.py"}),
}
TEXTS = {
    "analyzer/scan.py": "",
    "analyzer/views.py": "",
    "probes/recorder/plan.py": 'SOURCE = "nest.h"',
    "tests/analyzer/test_views.py": "",
    "tests/probes/recorder/test_watched.py": "",
    "tests/vm/test_zero.py": "",
}


def of(*changed: str) -> list[str]:
    return chosen(changed, IMPORTERS, TEXTS)


def test_those_that_import_it_through_another_module() -> None:
    assert of("analyzer/scan.py") == ["tests/analyzer/test_views.py", "tests/vm/test_zero.py"]


def test_a_test_itself() -> None:
    assert of("tests/vm/test_zero.py") == ["tests/vm/test_zero.py"]


def test_all_guests_with_what_runs_in_them() -> None:
    assert of("probes/recorder/plan.py") == ["tests/probes/recorder/test_watched.py", "tests/vm"]


def test_a_source_in_c_is_its_modules() -> None:
    assert of("probes/bpf/nest.h") == ["tests/probes/recorder/test_watched.py", "tests/vm"]


def test_a_folder_with_its_fixtures_and_golden_outputs() -> None:
    assert of("tests/analyzer/conftest.py") == ["tests/analyzer"]
    assert of("tests/analyzer/golden/zero.txt") == ["tests/analyzer"]


def test_everything_with_what_nothing_is_known_about() -> None:
    assert of("setup.sh") == ["tests"]
    assert of("analyzer/removed.py", "analyzer/scan.py") == ["tests"]


def test_nothing_with_what_no_test_reads() -> None:
    assert of("LICENSE", "docs/unknown.md", "benchmarks/README") == []


def test_the_tree_s_own_imports_are_found_also_those_in_functions() -> None:
    importers = importers_of(ROOT)
    assert "tests/test_changed.py" in importers["tests/changed.py"]
    # Imported when `lab run` is called.
    assert "commands/lab.py" in importers["lab/series.py"]
