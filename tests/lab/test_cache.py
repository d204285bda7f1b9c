# SPDX-License-Identifier: Apache-2.0
"""What was built once is used again, unless it or what it was made from has changed."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "memtrace"


class Builder:
    def __init__(self, content: str = "x") -> None:
        self.content = content
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text(self.content)


def test_it_is_built_once() -> None:
    build = Builder()
    first, second = (cache.ensure("kind", "key", build) for _ in range(2))
    assert first == second
    assert (first / "sub" / "file").read_text() == "x"
    assert build.calls == 1


@pytest.mark.parametrize("harm", ["content", "length", "missing", "seal"])
def test_a_damaged_entry_is_built_again(harm: str) -> None:
    build = Builder()
    file = cache.ensure("kind", "key", build) / "sub" / "file"
    match harm:
        case "content":
            file.write_text("y")
            os.utime(file, ns=(1, 1))
        case "length":
            file.write_text("xx")
        case "missing":
            file.unlink()
        case "seal":
            (file.parents[1] / cache.SEAL).write_text("{")
    assert not cache.is_sound(file.parents[1])
    assert (cache.ensure("kind", "key", build) / "sub" / "file").read_text() == "x"
    assert build.calls == 2


def test_a_file_only_touched_is_still_sound() -> None:
    build = Builder()
    os.utime(cache.ensure("kind", "key", build) / "sub" / "file")
    cache.ensure("kind", "key", build)
    assert build.calls == 1


def test_a_failed_build_leaves_nothing(own_cache: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise MemtraceError("no luck")

    with pytest.raises(MemtraceError, match="no luck"):
        cache.ensure("kind", "key", build)
    assert [path for path in own_cache.rglob("*") if path.suffix != ".lock"] == [own_cache / "kind"]


def test_what_a_killed_build_left_is_removed(own_cache: Path) -> None:
    stale = own_cache / "kind" / ".partial-key"
    stale.mkdir(parents=True)
    (stale / "half").write_text("x")
    folder = cache.ensure("kind", "key", Builder())
    assert not stale.exists()
    assert not (folder / "half").exists()


def test_old_entries_of_a_kind_go(own_cache: Path) -> None:
    for number in range(4):
        os.utime(cache.ensure("kind", f"key{number}", Builder()), ns=(number, number))
    assert sorted(p.name for p in (own_cache / "kind").iterdir() if p.is_dir()) == ["key2", "key3"]
    assert cache.newest("kind") == own_cache / "kind" / "key3"


def test_the_newest_is_the_newest_sound_one() -> None:
    assert cache.newest("kind") is None
    older = cache.ensure("kind", "older", Builder())
    newer = cache.ensure("kind", "newer", Builder())
    os.utime(older, ns=(1, 1))
    (newer / "sub" / "file").unlink()
    assert cache.newest("kind") == older


def test_two_that_want_the_same_wait_for_one_build() -> None:
    build = Builder()
    threads = [threading.Thread(target=cache.ensure, args=("kind", "key", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert build.calls == 1


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MemtraceError, match=r"cannot write the cache .*XDG_CACHE_HOME"):
        cache.ensure("kind", "key", Builder())


def test_the_key_follows_content_and_not_where_it_is_split(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("ab")
    assert cache.key_of(file) == cache.key_of("ab") == cache.key_of(b"ab")
    assert cache.key_of("ab", "c") != cache.key_of("a", "bc")
    file.write_text("ac")
    assert cache.key_of(file) != cache.key_of("ab")


def test_a_failed_build_leaves_nothing_and_one_lock_serves_all_who_wait(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("")
        raise MemtraceError("no")

    with pytest.raises(MemtraceError, match="no"):
        cache.ensure("kind", "key", fails)
    assert list((cache.cache_root() / "kind").iterdir()) == []

    built: list[int] = []

    def builds(folder: Path) -> None:
        built.append(1)
        (folder / "file").write_text("")

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: cache.ensure("kind", "key", builds), range(8)))
    assert len(made) == len(built) == 1
    assert [path.name for path in (cache.cache_root() / "kind").iterdir()] == ["key"]
