# SPDX-License-Identifier: GPL-2.0-or-later
"""RARP frames, seen on an interface of a host: announcements of its guests."""

from .host import Host
from .host.host import LOGS, Background

ETH_P_ALL = 3
RARP = "8035"
VLAN = "8100"
LOG = "rarp.log"


def start(host: Host, interface: str) -> Background:
    """Begin to look; `sources()` tells what was there."""
    # All frames are asked for: the tap is a port of a bridge, which takes them before anybody who
    # asks for one protocol.
    program = (
        "import socket\n"
        f"s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons({ETH_P_ALL}))\n"
        f"s.bind(({interface!r}, {ETH_P_ALL}))\n"
        "print('listening', flush=True)\n"
        "while True:\n"
        "    frame = s.recv(64)\n"
        "    kind, vlan = frame[12:14].hex(), ''\n"
        f"    if kind == {VLAN!r}:\n"
        "        kind, vlan = frame[16:18].hex(), f' VLAN {int.from_bytes(frame[14:16]) & 4095}'\n"
        f"    if kind == {RARP!r}: print(frame[6:12].hex(':') + vlan, flush=True)\n"
    )
    host.sh(f"rm -f {LOGS}/{LOG}")
    capture = host.start(["/usr/bin/python3", "-c", program], LOG)
    host.sh(f"until grep -q listening {LOGS}/{LOG}; do sleep 0.1; done")
    return capture


def sources(capture: Background) -> list[str]:
    """The senders of the frames seen since start(), which ends; and " VLAN 100" if tagged."""
    capture.signal(15)
    text = (capture.host.directory / LOG).read_text()
    return [line for line in text.splitlines() if ":" in line]
