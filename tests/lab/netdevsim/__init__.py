# SPDX-License-Identifier: GPL-2.0-or-later
"""netdevsim: a PF without hardware in an emulated host, with as many VFs as wanted.

It is a network interface with VFs over netlink, and a devlink device with representors. It is no
PCI device: what sysfs has of one is made in a directory of its own (`Card.sysfs`), for programs that
are told to look there or that run with it in the place of /sys (`Card.disguise`).
"""

from dataclasses import dataclass

from ..host import Host

BUS_ID = 10
DEVLINK = f"netdevsim/netdevsim{BUS_ID}"
DEVICE = f"/sys/bus/netdevsim/devices/netdevsim{BUS_ID}"
DEBUG = f"/sys/kernel/debug/netdevsim/netdevsim{BUS_ID}"
PF = "sim0"
PF_PCI = "0000:80:00.0"
SYSFS = "/run/netdevsim/sys"
SECONDS = 120

_SYSFS_SCRIPT = """
import os, shutil, sys
root, pf, pf_pci, *vfs = sys.argv[1:]
devices = f"{root}/bus/pci/devices"
shutil.rmtree(root, ignore_errors=True)
for name in (pf_pci, *vfs):
    os.makedirs(f"{devices}/{name}")
    with open(f"{devices}/{name}/numa_node", "w") as node:
        node.write("-1\\n")
os.makedirs(f"{root}/class/net")
# Everything else that /sys knows of interfaces is the kernel's own.
for name in os.listdir("/sys/class/net"):
    if name != pf:
        os.symlink(os.path.realpath(f"/sys/class/net/{name}"), f"{root}/class/net/{name}")
os.makedirs(f"{root}/class/net/{pf}")
os.symlink(f"../../../bus/pci/devices/{pf_pci}", f"{root}/class/net/{pf}/device")
with open(f"{devices}/{pf_pci}/sriov_numvfs", "w") as count:
    count.write(f"{len(vfs)}\\n")
os.makedirs(f"{root}/bus/pci/drivers/netdevsim")
os.symlink("../../drivers/netdevsim", f"{devices}/{pf_pci}/driver")
for index, name in enumerate(vfs):
    os.symlink(f"../{name}", f"{devices}/{pf_pci}/virtfn{index}")
    os.symlink(f"../{pf_pci}", f"{devices}/{name}/physfn")
"""


def vf_pci(index: int) -> str:
    """The made-up PCI address of a VF."""
    return f"0000:{0x81 + index // 256:02x}:{index % 256 // 8:02x}.{index % 8}"


@dataclass(frozen=True)
class Card:
    """One in a host."""

    host: Host
    vfs: int

    @property
    def sysfs(self) -> str:
        """Where what a card's sysfs says has been made."""
        return SYSFS

    def disguise(self, argv: list[str]) -> list[str]:
        """The command, with the made sysfs in the place of /sys."""
        script = f'mount --bind {SYSFS} /sys && exec "$@"'
        return ["unshare", "-m", "/bin/sh", "-euc", script, "disguise", *argv]


def insert(host: Host, vfs: int) -> Card:
    """A card of so many VFs, each with a MAC of its own, in the place of the one before."""
    script = f"""
        mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
        modprobe netdevsim
        [ ! -e {DEVICE} ] || echo {BUS_ID} >/sys/bus/netdevsim/del_device
        echo "{BUS_ID} 1 1" >/sys/bus/netdevsim/new_device
        ip link set "$(ls {DEVICE}/net)" name {PF} address 02:00:00:ff:00:00 up
        echo {vfs} >{DEBUG}/max_vfs
        echo {vfs} >{DEVICE}/sriov_numvfs
        i=0
        while [ $i -lt {vfs} ]; do
            printf 'link set {PF} vf %d mac 02:00:00:fe:%02x:%02x\\n' $i $((i / 256)) $((i % 256))
            i=$((i + 1))
        done | ip -batch -
        """
    host.sh(script, seconds=SECONDS)
    names = [vf_pci(index) for index in range(vfs)]
    host.run(["/usr/bin/python3", "-c", _SYSFS_SCRIPT, SYSFS, PF, PF_PCI, *names], seconds=SECONDS)
    return Card(host, vfs)
