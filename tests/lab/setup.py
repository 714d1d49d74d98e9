# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab needs of this machine."""

import os
import subprocess
import sys

from . import paths


def ready() -> bool:
    """Have it all; False, and a line that says why, if that cannot be had."""
    if os.geteuid() != 0:
        print("lab: must be run as root", file=sys.stderr)
        return False
    return subprocess.run([paths.REPOSITORY / "scripts" / "lab-setup"]).returncode == 0
