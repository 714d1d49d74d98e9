# SPDX-License-Identifier: GPL-2.0-or-later
"""What vfailover beside libvirt is compared with."""

from .libvirt_migrate import run

DESCRIPTION = "libvirt-migrate with libvirt and nothing else"
TEST = False  # What others do.
CONTENDERS = ("libvirt-hostdev",)

__all__ = ["run"]
