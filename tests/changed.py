# SPDX-License-Identifier: Apache-2.0
"""The tests that a change can break: `python -m memtrace.tests.changed BASE` prints their files.

A test is chosen if it is changed itself, or imports something that is, directly or through
other modules, also where the import is in a function.  A file that is not Python counts as a
change of each module that names it; the tests that boot guests are chosen with everything that
runs in a guest.  What nothing is known about chooses all tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
GUESTS = "tests/vm"
IN_GUESTS = ("probes/", "traces/", "lab/", "commands/", "cli.py", "errors.py", "safe.py")
NO_TEST = (".gitignore", "LICENSE", "benchmarks/")
"""Files that no test reads."""


def chosen(
    changed: Iterable[str], importers: Mapping[str, frozenset[str]], texts: Mapping[str, str]
) -> list[str]:
    """Test files and folders, sorted; all paths are relative to the repository.

    importers  by Python file: the files that import it
    texts      by Python file: its source
    """
    found: set[str] = set()
    for path in changed:
        if path.startswith(NO_TEST):
            continue
        if path.startswith(IN_GUESTS):
            found.add(GUESTS)
        found |= _tests_of(path, importers, texts)
    if "tests" in found:
        return ["tests"]
    return sorted(found)


def _tests_of(path: str, importers: Mapping[str, frozenset[str]], texts: Mapping[str, str]) -> set[str]:
    name = PurePosixPath(path)
    if name.name == "conftest.py":
        return {str(name.parent)}
    if name.suffix == ".py":
        return _tests_among(_reached({path}, importers)) if path in texts else {"tests"}
    if "golden" in name.parts:
        return {str(PurePosixPath(*name.parts[: name.parts.index("golden")]))}
    naming = {file for file, text in texts.items() if name.name in text}
    if not naming:
        return set() if name.suffix == ".md" else {"tests"}
    return _tests_among(_reached(naming, importers))


def _reached(files: set[str], importers: Mapping[str, frozenset[str]]) -> set[str]:
    """The files, and all that import them directly or not."""
    reached, new = set(files), set(files)
    while new:
        new = {by for file in new for by in importers.get(file, ())} - reached
        reached |= new
    return reached


def _tests_among(files: Iterable[str]) -> set[str]:
    return {file for file in files if PurePosixPath(file).name.startswith("test_")}


def importers_of(root: Path) -> dict[str, frozenset[str]]:
    """By each Python file of the tree, the files that import it."""
    with tempfile.TemporaryDirectory() as folder:
        # The tree is the package: under its name, so that its imports are found.
        (Path(folder) / "memtrace").symlink_to(root)
        ruff = str(Path(sys.executable).with_name("ruff"))
        command = (ruff, "analyze", "graph", "--preview", "--direction", "dependents", "memtrace")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    inside = "memtrace/"
    return {
        file.removeprefix(inside): frozenset(by.removeprefix(inside) for by in files)
        for file, files in json.loads(done.stdout).items()
    }


def changed_since(root: Path, base: str) -> list[str]:
    """Files that differ from where the tree left `base`, committed or not."""

    def git(*words: str) -> list[str]:
        done = subprocess.run(("git", *words), cwd=root, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"git {' '.join(words)}: {done.stderr.strip()}: give a commit as BASE")
        return done.stdout.splitlines()

    (fork,) = git("merge-base", base, "HEAD")
    return git("diff", "--name-only", fork) + git("ls-files", "--others", "--exclude-standard")


def main(base: str) -> None:
    """Print the files to hand to pytest, one a line."""
    importers = importers_of(ROOT)
    texts = {file: (ROOT / file).read_text() for file in importers}
    print("\n".join(chosen(changed_since(ROOT, base), importers, texts)))


if __name__ == "__main__":
    main(sys.argv[1])
