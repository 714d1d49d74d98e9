# SPDX-License-Identifier: GPL-2.0-or-later
"""The network between the hosts: a "tor" bridge that carries the guests' traffic, with the client
on it, and a "mgmt" bridge on which hosts and lab talk to each other."""

import subprocess

TOR = "tor"
MGMT = "mgmt"
STORAGE = "storage"
CLIENT_ADDRESS = "10.9.0.254"
CLIENT_MAC = "52:54:00:00:00:fe"
MGMT_ADDRESS = "10.8.0.254"


def ip(*arguments: str) -> None:
    """One change of the network, by iproute2."""
    subprocess.run(["ip", *arguments], check=True)


def up() -> None:
    """Set up both bridges in the network namespace of this process."""
    ip("link", "set", "lo", "up")
    for bridge, address in ((TOR, CLIENT_ADDRESS), (MGMT, MGMT_ADDRESS)):
        ip("link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        ip("address", "add", f"{address}/24", "dev", bridge)
    ip("link", "set", TOR, "address", CLIENT_MAC)
    for bridge in (TOR, MGMT):
        ip("link", "set", bridge, "up")


def add_storage() -> None:
    """A network of its own for the hosts' second PFs."""
    ip("link", "add", STORAGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    ip("link", "set", STORAGE, "up")


def add_tap(name: str, bridge: str) -> None:
    """A port of a bridge for a QEMU to use."""
    ip("tuntap", "add", name, "mode", "tap")
    ip("link", "set", name, "master", bridge)
    ip("link", "set", name, "up")


def set_neighbour(address: str, mac: str) -> None:
    """Tell the client a guest's MAC for good, so that an outage is not prolonged by ARP."""
    ip("neighbour", "replace", address, "lladdr", mac, "dev", TOR, "nud", "permanent")
