# SPDX-License-Identifier: GPL-2.0-or-later
"""The RAM disks, read back by another implementation of the format."""

import subprocess
from pathlib import Path

import pytest

from lab import initramfs

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
