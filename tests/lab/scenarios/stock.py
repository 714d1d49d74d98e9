# SPDX-License-Identifier: GPL-2.0-or-later
"""What vfailover is compared with."""

from .migrate import run

DESCRIPTION = "the same with QEMU's own failover and nothing else"
TEST = False  # What others do.
CONTENDERS = ("stock",)

__all__ = ["run"]
