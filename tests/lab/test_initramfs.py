# SPDX-License-Identifier: GPL-2.0-or-later
"""The RAM disks, read back by another implementation of the format."""

import subprocess
from pathlib import Path

import pytest

from lab import initramfs
from lab.errors import LabError

pytestmark = pytest.mark.skipif(not initramfs.BUSYBOX.exists(), reason="needs busybox-static")


def test_round_trip(tmp_path: Path) -> None:
    init = tmp_path / "own-init"
    init.write_text("#!/bin/busybox sh\necho hello\n")
    extra = tmp_path / "five"
    extra.write_bytes(b"12345")
    initramfs.build(tmp_path / "image", init, [], {"bin/five": extra})
    target = tmp_path / "unpacked"
    target.mkdir()
    with (tmp_path / "image").open("rb") as image:
        subprocess.run(
            [initramfs.BUSYBOX, "cpio", "-idm", "--quiet"], stdin=image, cwd=target, check=True
        )
    assert (target / "init").read_text() == init.read_text()
    assert (target / "bin" / "five").read_bytes() == b"12345"
    assert (target / "bin" / "five").stat().st_mode & 0o777 == 0o755
    assert (target / "bin" / "sh").readlink() == Path("busybox")
    assert (target / "proc").is_dir()


def test_programs(tmp_path: Path) -> None:
    extra = initramfs.programs(("ip",))
    assert extra.pop("bin/ip").name == "ip"
    assert any(name.startswith("lib64/ld-linux") for name in extra)
    assert any("/libc.so" in name for name in extra)
    assert all(path.exists() and "/" + name == str(path) for name, path in extra.items())
    initramfs.build(tmp_path / "image", Path(__file__), [], extra)
    with (tmp_path / "image").open("rb") as image:
        names = subprocess.check_output(
            [initramfs.BUSYBOX, "cpio", "-t", "--quiet"], stdin=image, text=True
        ).split()
    for name in extra:
        # A directory has to be there before what is in it.
        assert names.index(str(Path(name).parent)) < names.index(name)


def test_program_that_is_not_there() -> None:
    with pytest.raises(LabError, match="no-such-program is not on this machine"):
        initramfs.programs(("no-such-program",))
