# SPDX-License-Identifier: GPL-2.0-or-later
"""`virsh migrate` with the options that people use, one after the other, hence and forth."""

from ..contenders import Libvirt, LibvirtVfailover
from ..libvirt import Domain, xml
from ..run import Run
from .libvirt_migrate import defined, described, gone

DESCRIPTION = "virsh migrate direct, tunnelled, persistent, post-copy, with disks, with --xml"
TEST = False  # Five minutes.
CONTENDERS = ("libvirt-hostdev-vfailover", "libvirt-hostdev")

SPACING_US = 10_000
DISK = "/run/lab/disk.img"
DISK_MB = 16
XML = "/run/lab/destination.xml"

WAYS = (
    ("direct", ("--live", "--abort-on-error")),
    ("tunnelled", ("--live", "--p2p", "--tunnelled")),
    ("persistent", ("--live", "--p2p", "--persistent")),
    ("moved", ("--live", "--p2p", "--persistent", "--undefinesource", "--timeout", "120")),
    ("post-copy", ("--live", "--p2p", "--undefinesource", "--postcopy", "--postcopy-after-precopy")),
    ("disks", ("--live", "--p2p", "--copy-storage-all")),
    ("XML of the user's", ("--live", "--p2p", "--xml", XML)),
    ("parallel", ("--live", "--p2p", "--parallel", "--parallel-connections", "2")),
)


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, Libvirt)
    for host in test.lab.hosts:
        host.sh(f"mkdir -p /run/lab; truncate -s {DISK_MB}M {DISK}")
    contender.alter = with_disk
    guest = test.start_guest("hosta")
    assert isinstance(guest, Domain)
    test.start_traffic(guest, SPACING_US)
    for number, (name, options) in enumerate(WAYS):
        there = test.lab.hosts[1 - number % 2]
        # The disk is in each host, and says nothing.
        contender.options = (*options, "--unsafe")
        if XML in options:
            # Another VF than the destination's free ones, as if from another time.
            text = guest.virsh("dumpxml", "--migratable", guest.name)
            guest.host.write(XML, text.replace("slot='0x10' function='0x2'", "slot='0x1f' function='0x7'"))
        arrived = test.migrate(guest, there.name)
        assert isinstance(arrived, Domain)
        gone(guest)
        test.note(name, described(arrived))
        _expect_defined(test, arrived, "--persistent" in options)
        guest = arrived


def _expect_defined(test: Run, guest: Domain, wanted: bool) -> None:
    """Whether the host that the domain has come to has a definition of it, with the pair, and with
    vfailover the VF that the domain has there."""
    listed = guest.name in guest.virsh("list", "--all", "--persistent", "--name").split()
    test.expect(f"{guest.host.name}: a definition: {wanted}, not {listed}", listed == wanted)
    if wanted:
        followed = isinstance(test.contender, LibvirtVfailover)
        text = defined(guest) if followed else guest.virsh("dumpxml", "--inactive", guest.name)
        vf = xml.vf_of(text)
        test.note(f"VF of the definition in {guest.host.name}", str(vf))
        test.expect("a definition with the VF's half of the pair", vf is not None)


def with_disk(text: str) -> str:
    """A domain's XML with a disk."""
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{DISK}'/><target dev='vda' bus='virtio'/></disk>"
    )
    return text.replace("<interface ", f"{disk}<interface ", 1)
