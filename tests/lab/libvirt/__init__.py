# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that libvirt starts and migrates."""

from .apparmor import AppArmor
from .daemon import Libvirtd
from .domain import Domain
from .idle import Idle
from .xml import Form, Spec

__all__ = ["AppArmor", "Domain", "Form", "Idle", "Libvirtd", "Spec"]
