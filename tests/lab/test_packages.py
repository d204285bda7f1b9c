# SPDX-License-Identifier: Apache-2.0
"""Kernels in packages, which dpkg-deb and rpmbuild make here of small trees."""

import subprocess
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import kernels, needs, packages
from memtrace.lab.needs import find
from memtrace.tests.lab.trees import A, B, lay

needs_dpkg = pytest.mark.skipif(
    find("dpkg-deb") is None or find("depmod") is None, reason="no dpkg-deb or no depmod here"
)
needs_rpmbuild = pytest.mark.skipif(
    find("rpmbuild") is None or find("depmod") is None, reason="no rpmbuild or no depmod here"
)
PARTS = {
    "binary": ("vmlinuz",),
    "base": ("config", "modules.builtin", "modules.order"),
    "modules": ("kernel",),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def deb(root: Path, into: Path, name: str, architecture: str = "amd64", depends: str = "") -> Path:
    (root / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": "1", "Architecture": architecture, "Maintainer": "a <a@b>"}
    fields |= {"Description": "x"} | ({"Depends": depends} if depends else {})
    text = "".join(f"{key}: {value}\n" for key, value in fields.items())
    (root / "DEBIAN" / "control").write_text(text)
    into.mkdir(exist_ok=True)
    file = into / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "-b", "--root-owner-group", root, file], check=True, stdout=subprocess.DEVNULL
    )
    return file


def split_debs(tmp_path: Path, release: str = A, architecture: str = "amd64") -> dict[str, Path]:
    """Packages as Debian's from 6.19 on, and what a build has beside them."""
    made = {}
    for kind, names in PARTS.items():
        root = tmp_path / f"{kind}-{release}-{architecture}"
        folder = lay(root, release)
        for path in folder.iterdir():
            if path.name not in names:
                subprocess.run(["rm", "-r", path], check=True)
        depends = "" if kind == "base" else f"linux-base-{release}"
        made[kind] = deb(root, tmp_path / "debs", f"linux-{kind}-{release}", architecture, depends)
    depends = ", ".join(f"linux-{kind}-{release} (= 1)" for kind in PARTS)
    empty = tmp_path / f"image-{release}-{architecture}"
    made["image"] = deb(empty, tmp_path / "debs", f"linux-image-{release}", architecture, depends)
    made["headers"] = deb(tmp_path / f"h{release}", tmp_path / "debs", f"linux-headers-{release}", "arm64")
    return made


def refused(name: str) -> str:
    with pytest.raises(MemtraceError) as refusal:
        kernels.prepare(name)
    assert "\n" not in str(refusal.value)
    assert ".partial" not in str(refusal.value)
    return str(refusal.value)


@needs_dpkg
def test_split_debs_are_one_kernel_however_they_are_named(tmp_path: Path) -> None:
    made = split_debs(tmp_path)
    three = ",".join(str(made[kind]) for kind in PARTS)
    for name in (three, str(tmp_path / "debs"), str(tmp_path / "debs" / "linux-[bmi]*.deb")):
        kernel = kernels.prepare(name)
        assert (kernel.release, kernel.boot_file.name, kernel.name) == (A, "vmlinux", name)
        assert kernel.modules_dir and (kernel.modules_dir / "modules.dep").exists()
        assert not (kernel.modules_dir / "build").is_symlink()
        assert kernel.config


@needs_dpkg
def test_the_packages_that_are_missing_are_named(tmp_path: Path) -> None:
    made = split_debs(tmp_path)
    all_three = f"give linux-binary-{A}, linux-modules-{A} and linux-base-{A} too"
    assert refused(str(made["image"])) == f"{made['image']} holds no kernel: {all_three}"
    assert refused(str(made["headers"])).startswith(f"{made['headers']} holds no kernel: ")
    assert refused(str(made["binary"])).endswith(f": give linux-modules-{A} and linux-base-{A} too")
    assert refused(str(made["modules"])).endswith(f"no kernel: give linux-binary-{A} and linux-base-{A} too")
    without_modules = refused(f"{made['binary']},{made['base']}")
    assert without_modules.endswith(f"that a guest needs (9p): give linux-modules-{A} too")


@needs_dpkg
def test_two_kernels_another_machine_and_a_cut_file(tmp_path: Path) -> None:
    made = split_debs(tmp_path)
    (tmp_path / "arm").mkdir()
    arm = split_debs(tmp_path / "arm", A, "arm64")
    assert refused(str(arm["binary"])) == f"{arm['binary']} is for arm64: guests are x86-64 machines"
    assert refused(str(tmp_path / "arm" / "debs")).endswith("is for arm64: guests are x86-64 machines")
    other = split_debs(tmp_path, B)
    said = refused(str(tmp_path / "debs"))
    assert "holds 2 kernels: give the path of one, " in said
    assert str(made["binary"]) in said
    assert str(other["binary"]) in said
    for size in (60, 400, made["binary"].stat().st_size - 30):
        cut = tmp_path / "cut.deb"
        cut.write_bytes(made["binary"].read_bytes()[:size])
        assert refused(str(cut)).startswith(f"{cut} is damaged or cut short (")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")]


def rpms(tmp_path: Path, payload: str, release: str = A) -> Path:
    folder = f"/lib/modules/{release}"
    root = lay(tmp_path / "root", release, "lib/modules").parents[2]
    spec = tmp_path / "kernel.spec"
    spec.write_text(
        "Name: kernel-core\nVersion: 1\nRelease: 1\nSummary: x\nLicense: GPL\nAutoReqProv: no\n"
        "%define __os_install_post %{nil}\n%define debug_package %{nil}\n"
        "%description\nx\n%package -n kernel-modules-core\nSummary: x\n"
        "%description -n kernel-modules-core\nx\n"
        f"%install\ncp -a {root}/. %{{buildroot}}\n"
        f"%files\n{folder}/vmlinuz\n{folder}/config\n{folder}/modules.*\n"
        f"%files -n kernel-modules-core\n{folder}/kernel\n{folder}/build\n"
    )
    tops = ("--define", f"_topdir {tmp_path}/rpmbuild", "--define", f"_binary_payload {payload}")
    subprocess.run(["rpmbuild", "-bb", "--quiet", *tops, spec], check=True, capture_output=True)
    return tmp_path / "rpmbuild" / "RPMS" / "x86_64"


@needs_rpmbuild
@pytest.mark.parametrize("payload", ["w3.zstdio", "w1.xzdio"])
@pytest.mark.parametrize("tool", ["bsdtar", "rpm2cpio"])
def test_rpms_are_one_kernel(
    payload: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find(tool) is None:
        pytest.skip(f"no {tool} here")
    if tool == "rpm2cpio":
        monkeypatch.setattr(packages, "find", lambda name: find(name) if name != "bsdtar" else None)
    folder = rpms(tmp_path, payload)
    kernel = kernels.prepare(str(folder))
    assert (kernel.release, kernel.boot_file.name) == (A, "vmlinux")
    assert kernel.modules_dir and list(kernel.modules_dir.rglob("9p.ko"))
    assert kernels.prepare(str(tmp_path)).boot_file == kernel.boot_file
    core, modules = sorted(folder.iterdir())
    assert "kernel-modules-core" in refused(str(core))
    assert "holds no kernel: give " in refused(str(modules))
    for size in (90, 700, core.stat().st_size - 100):
        cut = tmp_path / "cut.rpm"
        cut.write_bytes(core.read_bytes()[:size])
        assert "is damaged or cut short" in refused(str(cut))


@needs_rpmbuild
def test_an_rpm_without_a_tool_that_unpacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = rpms(tmp_path, "w1.gzdio")
    for module in (packages, needs):
        monkeypatch.setattr(
            module, "find", lambda name: find(name) if name[-3:] not in ("tar", "pio") else None
        )
    assert refused(str(folder)) == (
        "cannot unpack an .rpm: no bsdtar here; sudo apt-get install --no-install-recommends libarchive-tools"
    )


@pytest.mark.parametrize("name", ["kernel.deb", "kernel.rpm"])
def test_a_file_that_is_no_package_is_told_before_any_tool_is_missed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(needs, "SYSTEM_PATH", "/nowhere")
    file = tmp_path / name
    file.write_bytes(b"no package at all")
    assert refused(str(file)).startswith(f"{file} is no package: neither")
