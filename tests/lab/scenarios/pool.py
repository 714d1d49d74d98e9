# SPDX-License-Identifier: GPL-2.0-or-later
"""VFs that come, go and change; a destination that must be wide enough; settings that move along."""

import re
from collections.abc import Callable
from typing import Any

from .. import paths, state, wait
from ..contenders import Vfailover
from ..guest import Guest
from ..host import Host
from ..run import Run
from .bad_input import expect_refusal

DESCRIPTION = "VFs and PFs that come, go and change are followed; a VF's settings move with its VM"
CONTENDERS = ("vfailover",)
VFS = 2

FOLLOW_SECONDS = 10
CARRIER_SECONDS = 30
OTHER_MAC = "52:54:00:bb:00:10"
SETTINGS = ("mac", "vlan", "vlan-outer", "qos", "spoofchk", "trust", "min-tx-rate", "max-tx-rate")


def run(test: Run) -> None:
    hosta, hostb = test.lab.hosts
    _come_and_go(test, hostb)
    _pf(test, hostb)
    guest = test.start_guest("hosta")
    test.start_traffic(guest)
    _too_narrow(test, guest, hostb)
    # What igb can set; a VLAN is the scenario `vlan`'s.
    _log_says(
        test, hosta, "changed settings",
        "pf0", "vf", "0", "spoofchk", "off", "trust", "on", "max_tx_rate", "500",
        expected=f"changed the settings of VF {hosta.vfs[0]}",
    )  # fmt: skip
    before = state.read(hosta).vf(hosta.vfs[0])
    guest = test.migrate(guest, "hostb")
    after = state.read(hostb).vf_of(guest.name)
    assert after is not None
    old, new = ({name: vf[name] for name in SETTINGS} for vf in (before, after))
    test.expect(f"the same settings at both hosts: {old}, {new}", old == new)
    test.expect(
        f"not those of any VF: {new}",
        new["trust"] and not new["spoofchk"] and new["max-tx-rate"] == 500,
    )
    test.note("settings that moved along", ", ".join(f"{k} {v}" for k, v in new.items()))
    # Last, and without traffic: igbvf of a guest that has changed its address cannot be unplugged
    # any more (failover_slave_unregister() in net/core/failover.c goes by the address).
    test.finish()
    hostb.run(["ip", "link", "set", "pf0", "vf", "0", "trust", "off"])
    _guest_mac(test, hostb, guest)


def _log(host: Host) -> str:
    return (host.directory / "vfailoverd.log").read_text(errors="replace")


def _followed(test: Run, host: Host, what: str, act: Callable[[], Any], *lines: str) -> None:
    """Nobody asks the daemon; it says by itself what has happened."""
    told = len(_log(host))
    act()

    def said() -> bool:
        new = _log(host)[told:]
        return all(re.search(line, new) for line in lines)

    wait.until(f"{host.name}: {what}: the log says {', '.join(lines)}", said, FOLLOW_SECONDS)
    test.lab.say(f"{what}: followed")


def _log_says(test: Run, host: Host, what: str, *change: str, expected: str) -> None:
    _followed(
        test, host, what, lambda: host.run(["ip", "link", "set", *change]), re.escape(expected)
    )


def _come_and_go(test: Run, host: Host) -> None:
    sriov = "/sys/class/net/pf0/device/sriov_numvfs"
    _followed(
        test, host, "no VFs", lambda: host.sh(f"echo 0 >{sriov}"),
        *(f"VF {pci}.* is gone" for pci in host.vfs),
    )  # fmt: skip
    test.expect("no VFs in the list", not state.read(host).vfs)
    _followed(
        test, host, "VFs again", lambda: host.sh(f"echo {len(host.vfs)} >{sriov}"),
        *(f"VF {pci}.* is there, with driver none" for pci in host.vfs),
    )  # fmt: skip
    test.expect(
        "VFs without driver in the list",
        [(vf["pci"], vf["driver"]) for vf in state.read(host).vfs]
        == [(pci, None) for pci in host.vfs],
    )
    bind = (
        f"echo vfio-pci >/sys/bus/pci/devices/{pci}/driver_override\n"
        f"echo {pci} >/sys/bus/pci/drivers_probe"
        for pci in host.vfs
    )
    _followed(
        test, host, "VFs bound", lambda: host.sh("\n".join(bind)),
        *(f"VF {pci} has driver vfio-pci now" for pci in host.vfs),
    )  # fmt: skip
    vfs = state.read(host).vfs
    test.expect(f"VFs with vfio-pci: {vfs}", all(vf["driver"] == "vfio-pci" for vf in vfs))
    # Each VF that went has ended a generation.
    test.expect("another generation", all(vf["generation"] == 1 for vf in vfs))
    test.expect("igbvf's device id", all(vf["device"] == 0x10CA for vf in vfs))
    # At once, so that the daemon may see nothing but the result.
    _followed(
        test, host, "VFs away and back",
        lambda: host.sh(f"echo 0 >{sriov}; echo {len(host.vfs)} >{sriov}"),
        *(f"VF {pci}.* is gone" for pci in host.vfs),
        *(f"VF {pci}.* is there" for pci in host.vfs),
    )  # fmt: skip
    host.sh(
        "\n".join(
            f"echo vfio-pci >/sys/bus/pci/devices/{pci}/driver_override\n"
            f"echo {pci} >/sys/bus/pci/drivers_probe"
            for pci in host.vfs
        )
    )


def _pf(test: Run, host: Host) -> None:
    def set_up(up: bool) -> None:
        host.run(["ip", "link", "set", "pf0", "up" if up else "down"])

    # igb has no carrier for some seconds after its VFs were switched off and on.
    wait.until(
        f"{host.name}: a carrier after the VFs have come back, and the daemon knows",
        lambda: "is up" in re.findall("PF pf0 .*", _log(host))[-1],
        CARRIER_SECONDS,
    )
    _followed(test, host, "PF down", lambda: set_up(False), "PF pf0 .* is down")
    test.expect("no usable VF", not any(vf["usable"] for vf in state.read(host).vfs))
    printed = host.run([str(paths.COMMAND), "vfs"]).stdout
    test.expect(f"'PF down' in: {printed}", printed.count("PF down") == len(host.vfs))
    _followed(test, host, "PF up", lambda: set_up(True), "PF pf0 .* is up and has a carrier")
    test.expect("usable VFs", all(vf["usable"] for vf in state.read(host).vfs))


def _guest_mac(test: Run, host: Host, guest: Guest) -> None:
    """A guest's VF keeps the guest's address, whoever changes it."""

    def has_its_mac() -> bool:
        return state.read(host).vf(host.vfs[0])["mac"] == guest.mac

    change = ["ip", "link", "set", "pf0", "vf", "0", "mac", OTHER_MAC]
    _followed(
        test, host, "another MAC, set by the host", lambda: host.run(change),
        f"VM {guest.name}: the MAC of its VF {host.vfs[0]} .*{OTHER_MAC}.*put back",
    )  # fmt: skip
    test.expect("the guest's MAC on its VF", has_its_mac())

    # Not trusted: the PF's driver refuses, and says so in its own log.
    vf = "for n in /sys/class/net/eth*; do case $(readlink $n/device/driver) in */igbvf) " \
         "echo ${n##*/};; esac; done"  # fmt: skip
    with guest.shell() as shell:
        name = shell.run(vf).strip()
        said = shell.run(f"ip link set {name} address {OTHER_MAC} && echo changed || echo refused")
        test.note("a guest that is not trusted and sets its VF's MAC", said.strip().splitlines()[-1])
    test.expect("the guest's MAC on its VF", has_its_mac())
    kernel = host.run(["dmesg"]).stdout
    test.expect(
        "the denial in the kernel's log",
        "attempted to override administratively set MAC address" in kernel,
    )

    host.run(["ip", "link", "set", "pf0", "vf", "0", "trust", "on"])

    def set_mac() -> None:
        with guest.shell() as shell:
            shell.run(f"ip link set {name} address {OTHER_MAC}")

    _followed(
        test, host, "another MAC, set by a guest that is trusted", set_mac,
        f"VM {guest.name}: the MAC of its VF {host.vfs[0]} .*{OTHER_MAC}.*trusted.*put back",
    )  # fmt: skip
    test.expect("the guest's MAC on its VF", has_its_mac())


def _too_narrow(test: Run, guest: Guest, host: Host) -> None:
    """The destination's PF has a smaller MTU than the source's."""
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    host.run(["ip", "link", "set", "pf0", "mtu", "1400"])
    destination = vfailover.start_destination(test.lab, host)
    result = guest.host.run([str(paths.COMMAND), "migrate", guest.name, host.name], check=False)
    words = (host.name, "MTU", "1400", "1500", "ip link set pf0 mtu 1500")
    expect_refusal(test, "an MTU that is too small", result.status, result.stderr, 1, words)
    test.lab.say(result.stderr.strip().splitlines()[-1])
    destination.quit()
    host.run(["ip", "link", "set", "pf0", "mtu", "1500"])
