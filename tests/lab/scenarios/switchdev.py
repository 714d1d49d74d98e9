# SPDX-License-Identifier: GPL-2.0-or-later
"""A PF in switchdev mode: what the daemon's code does to the bridge and to the card.

The card is netdevsim: real devlink, real representors, a real bridge (then a real Open vSwitch), but
no frames pass it, and there is no guest.
The steps of a hand-over are done one by one (tests/unit/host-steps.c), and looked at.
"""

import json
from typing import Any

from .. import netdevsim, paths, rarp
from ..host import Host
from ..host.host import LOGS, Result
from ..openvswitch import LEARN_SECONDS, Entry, OpenVswitch
from ..run import Run

DESCRIPTION = "no guest: representors, bridge entries and VF addresses of a PF in switchdev mode"
CONTENDERS = ("vfailover",)
VFS = 1

STEPS = str(paths.BUILD / "tests" / "unit" / "host-steps")
VF_COUNT = 8
VF = 3
GUEST_MAC = "52:54:00:aa:00:77"
# What the steps of host-steps.c give a VF, as ip(8) shows it.
SETTINGS = {
    "give-outer": {
        "address": GUEST_MAC,
        "vlan_list": [{"vlan": 200, "qos": 5, "protocol": "802.1ad"}],
        "rate": {"max_tx": 1000, "min_tx": 100},
        "spoofchk": False,
        "trust": True,
        "link_state": "disable",
    },
    "give-inner": {
        "address": GUEST_MAC,
        "vlan_list": [{"vlan": 100, "qos": 3}],
        "rate": {"max_tx": 500, "min_tx": 0},
        "spoofchk": True,
        "trust": False,
        "link_state": "enable",
    },
    "give-nothing": {
        "vlan_list": [{}],
        "rate": {"max_tx": 0, "min_tx": 0},
        "spoofchk": True,
        "trust": False,
        "link_state": "auto",
    },
}
BRIDGE = "brs"
TAP = "taps"
OVS = "brovs"
OVS_DATAPATH = "ovs-system"

# What the guest's QEMU does with its standby: its frames come into the host by the tap, this often.
_SEND = """
import fcntl, os, struct, sys, time
tap, mac = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", ""))
frame = bytes([255] * 6) + mac + bytes.fromhex("80350001080006040003") + (mac + bytes(4)) * 2
queue = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(queue, 0x400454CA, struct.pack("16sH", tap.encode(), 0x1002))
print("sending", flush=True)
for pause in (0, 0.05, 0.15, 0.25, 0.35):
    time.sleep(pause)
    os.write(queue, frame.ljust(60, bytes(1)))
"""


class Card:
    """The card in a host, with the bridge around it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.bridge = BRIDGE
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
        argv = [STEPS, self.card.sysfs, netdevsim.PF, self.bridge, TAP, vf, GUEST_MAC, step]
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

    def vf_info(self, vf: int) -> dict[str, Any]:
        """What rtnetlink has of a VF."""
        show = ["ip", "-json", "-d", "link", "show", "dev", netdevsim.PF]
        link: dict[str, Any] = json.loads(self.host.run(show).stdout)[0]
        return link["vfinfo_list"][vf]

    def vf_mac(self, vf: int) -> str:
        """Its address."""
        return self.vf_info(vf)["address"]


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
    card.step("park")
    _settings(test, card)

    _open_vswitch(test, card)


def _settings(test: Run, card: Card) -> None:
    """All that a VF can be given, from each to each, and back to its parking settings."""
    for step in ("give-outer", "give-inner", "give-outer", "give-nothing", "give-inner", "give-nothing"):
        card.step(step)
        info = card.vf_info(VF)
        shown = {name: info.get(name) for name in SETTINGS[step]}
        test.expect(f"{step}: {shown}", shown == SETTINGS[step])
    test.expect("... and the VF is parked", card.vf_mac(VF) != GUEST_MAC)


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
    capture = rarp.start(card.host, netdevsim.PF)
    card.step("announce")
    sent = rarp.sources(capture)
    test.expect(f"announced in VLAN 100: {sent}", sent == [f"{GUEST_MAC} VLAN 100"])
    card.step("close")
    card.host.sh(f"""
        ip link set {BRIDGE} type bridge vlan_filtering 0
        ip link set {port} nomaster
        """)


def _refused(test: Run, card: Card, what: str, words: str) -> None:
    refused = card.step("find", check=False)
    message = refused.stderr.strip()
    test.expect(f"{what} refused: {message}", refused.status != 0 and words in message)


def _open_vswitch(test: Run, card: Card) -> None:
    """Open vSwitch has no entries that the kernel could set: it has to learn where the guest is."""
    ovs = OpenVswitch(card.host)
    card.host.sh(f"ip link del {BRIDGE}")
    card.set_mode("switchdev")
    card.bridge = OVS_DATAPATH
    port = card.representor(VF)
    at_tap, at_vf = Entry(TAP, 0), Entry(port, 0)

    ovs.vsctl("add-br", OVS, "--", "add-port", OVS, TAP, "--", "add-port", OVS, port)
    _refused(test, card, "a PF outside of it", f"ovs-vsctl add-port BRIDGE {netdevsim.PF}")
    ovs.vsctl("del-port", port, "--", "add-port", OVS, netdevsim.PF)
    _refused(test, card, "a port outside of it", f"ovs-vsctl add-port BRIDGE {port}")
    ovs.vsctl("add-port", OVS, port)
    card.host.sh(f"ip link set {port} down")
    _refused(test, card, "a port that is down", f"ip link set {port} up")
    card.host.sh(f"ip link set {port} up")
    found = card.step("find").stdout.split()
    test.expect(f"Open vSwitch: switchdev and {port}: {found}", found == ["switchdev", port])

    card.step("open")
    learned = ovs.learned(OVS, GUEST_MAC)
    test.expect(f"open: {learned}", not learned)
    card.step("announce")
    test.expect("announce: at the tap", ovs.learns(OVS, GUEST_MAC, at_tap))
    card.step("close-to-vf")
    test.expect("close-to-vf: at the VF's port", ovs.learns(OVS, GUEST_MAC, at_vf))
    send = ["/usr/bin/python3", "-c", _SEND, TAP, GUEST_MAC]
    card.host.run(send)
    learned = ovs.settled(OVS, GUEST_MAC)
    test.expect(f"QEMU's announcements: at the tap: {learned}", learned == [at_tap])
    sending = card.host.start(send, "send.log")
    card.host.sh(f"until grep -q sending {LOGS}/send.log; do sleep 0.1; done")
    card.step("close-to-vf-and-stay")
    sending.wait(LEARN_SECONDS)
    learned = ovs.settled(OVS, GUEST_MAC)
    test.expect(f"close-to-vf while QEMU announces: at the VF's port: {learned}", learned == [at_vf])
    card.step("announce")
    test.expect("announce: at the tap again", ovs.learns(OVS, GUEST_MAC, at_tap))

    capture = rarp.start(card.host, netdevsim.PF)
    card.step("close-to-vf")
    test.expect("close-to-vf: at the VF's port again", ovs.learns(OVS, GUEST_MAC, at_vf))
    sent = rarp.sources(capture)
    test.expect(f"... and the network hears it once: {sent}", sent == [GUEST_MAC])
    card.step("close")
    learned = ovs.learned(OVS, GUEST_MAC)
    test.expect(f"close: as it was: {learned}", learned == [at_vf])

    card.step("configure")
    test.expect("the VF's function has the guest's address", card.function_mac(VF) == GUEST_MAC)
    card.step("park")
    test.expect("... and is parked", card.function_mac(VF) != GUEST_MAC)
    found = card.step("announce", with_vf=False).stdout.split()
    test.expect(f"without a VF: {found}", found == ["switchdev", "-"])
    test.expect("... at the tap", ovs.learns(OVS, GUEST_MAC, at_tap))

    ovs.vsctl("set", "Port", TAP, "tag=100", "--", "set", "Port", port, "tag=100")
    card.step("close-to-vf")
    test.expect("in VLAN 100", ovs.learns(OVS, GUEST_MAC, Entry(port, 100)))
