# SPDX-License-Identifier: GPL-2.0-or-later
"""Which scenarios a name stands for."""

import argparse

import pytest

from lab import scenarios


def test_names_and_patterns() -> None:
    assert scenarios.chosen("capture") == ["capture"]
    group = scenarios.chosen("libvirt-*")
    assert "libvirt-migrate" in group and "libvirt-ways" in group
    assert all(name.startswith("libvirt-") for name in group)


@pytest.mark.parametrize("text", ["", "libvirt", "nosuch*", "../cli"])
def test_nothing(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no scenario"):
        scenarios.chosen(text)
