# SPDX-License-Identifier: Apache-2.0
"""What is installed is what is in the tree: an installed memtrace has each view and each program."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_INSTALLED = ("tests", "benchmarks", "docs", ".ci")
CODE = (".py", ".c", ".h", ".sh", ".patch", ".config", ".sql")


def config() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    return found


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.parts[0] not in NOT_INSTALLED and (ROOT / file).exists()]


def package(folder: Path) -> str:
    return ".".join(("memtrace", *folder.parts))


def test_every_folder_with_modules_is_a_package_that_is_installed() -> None:
    listed = set(config()["options"]["packages"].split())
    assert {package(file.parent) for file in tracked() if file.name == "__init__.py"} == listed


def test_every_file_that_a_package_reads_is_installed_with_it() -> None:
    data = {
        name: [pattern.strip() for pattern in patterns.split(",")]
        for name, patterns in config()["options.package_data"].items()
    }

    installed = {
        path.relative_to(ROOT)
        for name, patterns in data.items()
        for pattern in patterns
        for path in ROOT.joinpath(*name.split(".")[1:]).glob(pattern)
    }
    read = [f for f in tracked() if f.suffix in CODE and f.suffix != ".py" and len(f.parts) > 1]
    assert len(read) > 20
    assert [str(file) for file in read if file not in installed] == []
