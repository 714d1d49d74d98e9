# SPDX-License-Identifier: GPL-2.0-or-later
"""A PF in switchdev mode: what the daemon's code does to the bridge and to the card.

The card is netdevsim: real devlink, real representors, a real bridge, but no frames and no guest.
The steps of a hand-over are done one by one (tests/unit/host-steps.c), and looked at.
"""

import json
from typing import Any

from .. import netdevsim, paths
from ..host import Host
from ..host.host import Result
from ..run import Run

DESCRIPTION = "no guest: representors, bridge entries and VF addresses of a PF in switchdev mode"
CONTENDERS = ("vfailover",)
VFS = 1

STEPS = str(paths.BUILD / "tests" / "unit" / "host-steps")
VF_COUNT = 8
VF = 3
GUEST_MAC = "52:54:00:aa:00:77"
BRIDGE = "brs"
TAP = "taps"


class Card:
    """The card in a host, with the bridge around it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.card = netdevsim.insert(host, VF_COUNT)
        host.sh(f"""
            ip link add {BRIDGE} type bridge stp_state 0 forward_delay 0
            ip tuntap add {TAP} mode tap
            for port in {TAP} {netdevsim.PF}; do ip link set $port master {BRIDGE} up; done
            ip link set {BRIDGE} up
            """)

    def set_mode(self, mode: str) -> None:
        """The mode of the switch in the card."""
        self.host.run(["devlink", "dev", "eswitch", "set", netdevsim.DEVLINK, "mode", mode])

    def representor(self, vf: int) -> str:
        """The interface of the port that a VF is behind."""
        links = json.loads(self.host.run(["ip", "-d", "-json", "link", "show"]).stdout)
        return next(
            link["ifname"] for link in links if link.get("phys_port_name") == f"pf0vf{vf}"
        )

    def step(self, step: str, with_vf: bool = True, check: bool = True) -> Result:
        """Do one step."""
        vf = netdevsim.vf_pci(VF) if with_vf else "none"
        argv = [STEPS, self.card.sysfs, netdevsim.PF, BRIDGE, TAP, vf, GUEST_MAC, step]
        return self.host.run(argv, check=check)

    def entries(self) -> list[str]:
        """Where the guest's address points to: ports of the bridge, and "self" for the filter."""
        entries = json.loads(self.host.run(["bridge", "-json", "fdb", "show"]).stdout)
        return [
            f"{entry['ifname']} self" if "self" in entry["flags"] else entry["ifname"]
            for entry in entries
            if entry["mac"] == GUEST_MAC and not entry.get("vlan")
        ]

    def function_mac(self, vf: int) -> str:
        """The address of the function behind a VF's port, as devlink has it."""
        ports = json.loads(self.host.run(["devlink", "-j", "port", "show"]).stdout)["port"]
        return next(port for port in ports.values() if port.get("vfnum") == vf)["function"][
            "hw_addr"
        ]

    def vf_mac(self, vf: int) -> str:
        """The same as rtnetlink has it."""
        show = ["ip", "-json", "link", "show", "dev", netdevsim.PF]
        link: dict[str, Any] = json.loads(self.host.run(show).stdout)[0]
        return link["vfinfo_list"][vf]["address"]


def run(test: Run) -> None:
    card = Card(test.lab.host("hosta"))
    parked = card.vf_mac(VF)
    others = [card.vf_mac(vf) for vf in range(VF_COUNT) if vf != VF]

    card.set_mode("switchdev")
    port = card.representor(VF)
    refused = card.step("find", check=False)
    test.expect("a port outside of the bridge refused", f"ip link set {port} master" in refused.stderr)
    card.host.sh(f"ip link set {port} master {BRIDGE}")
    refused = card.step("find", check=False)
    test.expect("a port that is down refused", f"ip link set {port} up" in refused.stderr)
    card.host.sh(f"ip link set {port} up")
    found = card.step("find").stdout.split()
    test.expect(f"switchdev and {port}: {found}", found == ["switchdev", port])

    for step, expected in (
        ("open", [TAP]),
        ("close-to-vf", [port]),
        ("open", [TAP]),
        ("close", []),
        ("close-to-vf", [port]),
        ("close", []),
    ):
        card.step(step)
        entries = card.entries()
        test.expect(f"{step}: {entries}", entries == expected)

    card.step("configure")
    test.expect("the VF's function has the guest's address", card.function_mac(VF) == GUEST_MAC)
    test.expect("... and rtnetlink agrees", card.vf_mac(VF) == GUEST_MAC)
    card.step("park")
    test.expect("the VF is parked", card.function_mac(VF) not in (GUEST_MAC, parked))
    test.expect(
        "the other VFs were left alone",
        others == [card.vf_mac(vf) for vf in range(VF_COUNT) if vf != VF],
    )

    found = card.step("open", with_vf=False).stdout.split()
    test.expect(f"without a VF: {found}", found == ["switchdev", "-"])
    test.expect("... the bridge points to the tap", card.entries() == [TAP])
    card.step("close", with_vf=False)

    _vlans(test, card, port)

    card.set_mode("legacy")
    found = card.step("open").stdout.split()
    test.expect(f"legacy mode: {found}", found == ["bridge", "-"])
    entries = sorted(card.entries())
    test.expect(f"... with a filter: {entries}", entries == sorted([TAP, f"{netdevsim.PF} self"]))
    card.step("close")
    card.step("configure")
    test.expect("... and the VF gets its address", card.vf_mac(VF) == GUEST_MAC)


def _vlans(test: Run, card: Card, port: str) -> None:
    """The VLAN is that of the VF's port in the bridge."""
    card.host.sh(f"""
        ip link set {BRIDGE} type bridge vlan_filtering 1
        bridge vlan del dev {TAP} vid 1
        bridge vlan add dev {TAP} vid 100 pvid untagged
        bridge vlan add dev {netdevsim.PF} vid 100
        """)
    refused = card.step("find", check=False)
    test.expect("a VF's port in another VLAN refused", "VLAN" in refused.stderr)
    card.host.sh(f"""
        bridge vlan del dev {port} vid 1
        bridge vlan add dev {port} vid 100 pvid untagged
        """)
    card.step("open")
    show = f"bridge -json fdb show dev {TAP} | tr '{{' '\\n' | grep {GUEST_MAC}"
    shown = card.host.sh(show).stdout
    test.expect(f"an entry in VLAN 100: {shown}", '"vlan":100' in shown)
    card.step("close-to-vf")
    shown = card.host.sh(show.replace(TAP, port)).stdout
    test.expect(f"... and one for the VF: {shown}", '"vlan":100' in shown)
    card.step("close")
    card.host.sh(f"""
        ip link set {BRIDGE} type bridge vlan_filtering 0
        ip link set {port} nomaster
        """)
