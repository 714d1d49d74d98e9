# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of scripts/bench."""

import pytest

from lab import bench


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.parser().parse_args(["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in bench.names():
        assert f"{name} {bench.load(name).DESCRIPTION}" in shown


def test_unknown_command() -> None:
    with pytest.raises(SystemExit) as ended:
        bench.parser().parse_args(["nothing"])
    assert ended.value.code == 2
