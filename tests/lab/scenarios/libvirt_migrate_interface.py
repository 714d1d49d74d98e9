# SPDX-License-Identifier: GPL-2.0-or-later
"""The same with the other way to give a domain a VF."""

from .libvirt_migrate import run

DESCRIPTION = "the same with <interface type='hostdev'>"
CONTENDERS = ("libvirt-interface-vfailover",)

__all__ = ["run"]
