# SPDX-License-Identifier: Apache-2.0
"""Two recorded boots, their whole pages compared letter by letter, and their pictures drawn.

``MEMTRACE_RENEW_GOLDEN=1 pytest tests/analyzer`` writes them anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail
from memtrace.traces.importers import assemble

HERE = Path(__file__).parent
TEXTS = HERE.parents[1] / "traces" / "importers" / "data" / "collected-eager-6.12"


@pytest.fixture(params=["lazy", "eager"])
def boot(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a boot, whose run is NAME.parquet in the working folder."""
    monkeypatch.chdir(tmp_path)
    name = str(request.param)
    run = Path(f"{name}.parquet")
    if name == "lazy":
        run.write_bytes((HERE / "data" / "lazy-6.12.parquet").read_bytes())
    else:
        assemble.run_import(assemble.Request(tuple(map(str, sorted(TEXTS.iterdir()))), run))
    return name


def test_the_page_is_as_it_was(boot: str) -> None:
    found = make(Request((f"{boot}.parquet",), view="boot", plot=Path("boot.png")))
    golden = HERE / "golden" / f"{boot}.txt"
    as_it_was(golden, found)
    fits_mail(golden)
    assert Path("boot.png").stat().st_size > 20_000
