# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest in a VLAN: there and back between a bridge that filters VLANs and a VLAN interface. Then
one whose tap is a trunk, on its VF, its standby, its VF, and in the other host."""

import json
from typing import Any

from .. import marks, paths, rarp, state, tagging
from ..contenders import Vfailover
from ..guest import Guest
from ..host import Host
from ..run import Run
from .bad_input import expect_refusal
from .lend import get_back, lend

DESCRIPTION = "a guest in VLAN 100 of a bridge, there and back by pf0.100; then with a trunk of VLANs"
CONTENDERS = ("vfailover",)
VFS = 2

VLAN = 100
# What else igb can be asked for a VF, and what a VF without a guest has.
GIVEN = {"vlan": VLAN, "qos": 3, "max-tx-rate": 400}
NOTHING = {"vlan": 0, "qos": 0, "max-tx-rate": 0}
OWN, UNTAGGED, FOREIGN = 1, 2, 3
# What the guest's trunk carries (mark to VLAN), and what else the way out of the host does.
_CARRIED = {4: 0, 5: VLAN, 6: VLAN + 1}
_OUTSIDE, _OUTSIDE_VLAN = 7, VLAN + 2
_ACCESS = f"""
ip link set br0 type bridge vlan_filtering 1
bridge vlan del dev tap0 vid 1
bridge vlan add dev tap0 vid {VLAN} pvid untagged
bridge vlan add dev pf0 vid {VLAN}
"""
_INTERFACE = f"""
ip link add link pf0 name pf0.{VLAN} type vlan id {VLAN}
ip link set pf0 nomaster
ip link set pf0.{VLAN} master br0 up
"""
_TRUNK = f"""
ip link set pf0 master br0
ip link set br0 type bridge vlan_filtering 1
bridge vlan add dev tap0 vid 1 pvid untagged
bridge vlan add dev tap0 vid {VLAN}
bridge vlan add dev tap0 vid {VLAN + 1}
bridge vlan add dev pf0 vid {VLAN}-{_OUTSIDE_VLAN}
"""


def run(test: Run) -> None:
    hosta, hostb = test.lab.host("hosta"), test.lab.host("hostb")
    assert isinstance(test.contender, Vfailover)
    # What is found out in hostb is given here.
    test.contender.reconfigure(test.lab, hosta, {"network lan": {"datapath": "bridge"}})
    hosta.sh(
        _ACCESS
        + f"ip link set pf0 vf 0 vlan {VLAN} qos {GIVEN['qos']}\n"
        + f"ip link set pf0 vf 0 max_tx_rate {GIVEN['max-tx-rate']}"
    )
    put_bridge_on_vlan(hostb)
    tagging.client_in_vlan(VLAN)

    guest = test.start_guest("hosta")
    test.start_traffic(guest)
    stranger = start_stranger(guest)
    _refused(test, hosta)
    guest = test.migrate(guest, "hostb")
    _has_vlan(test, hostb, hosta)
    guest = test.migrate(guest, "hosta")
    _has_vlan(test, hosta, hostb)
    expect_own(test, stranger.tally(guest))
    _trunk(test, guest, stranger)
    stranger.stop()


def start_stranger(guest: Guest) -> marks.Marks:
    """Whose frames are in the guest's VLAN, in none, and in another."""
    stranger = marks.Marks({OWN: VLAN, UNTAGGED: 0, FOREIGN: VLAN + 1})
    stranger.start(guest)
    return stranger


def expect_own(test: Run, tally: marks.Tally) -> None:
    """The guest got the stranger's frames of its own VLAN alone, and answered in that one."""
    counts = tally.delivered
    test.note(
        "marked frames delivered to the guest",
        f"{counts[OWN]} of its VLAN, {counts[UNTAGGED]} untagged, {counts[FOREIGN]} of another",
    )
    test.expect("frames of the guest's own VLAN", counts[OWN] > 100)
    test.expect("no frame of another VLAN", counts[UNTAGGED] == counts[FOREIGN] == 0)
    test.expect(f"answers in that VLAN alone: {tally.answered}", set(tally.answered) == {(OWN, VLAN)})


def put_bridge_on_vlan(host: Host) -> None:
    """The bridge has an interface of the VLAN as its port, and not the PF itself."""
    host.sh(_INTERFACE)
    host.uplink = f"pf0.{VLAN}"


def _refused(test: Run, host: Host) -> None:
    """A tap in another VLAN than the VF."""
    host.sh("bridge vlan add dev tap0 vid 1 untagged")
    answer = test.contender.command(host, "migrate", "guest", "hostb", check=False)
    host.sh("bridge vlan del dev tap0 vid 1")
    test.expect(
        "a refusal with the command that helps",
        "bridge vlan del dev tap0 vid 1" in str(answer[-1].get("error") if answer else None),
    )


def _has_vlan(test: Run, host: Host, other: Host) -> None:
    """The VLAN has moved with the guest, and so have its priority and the rate: the kernel says so."""
    for where, expected in ((host, [NOTHING, GIVEN]), (other, [NOTHING, NOTHING])):
        show = ["ip", "-json", "-d", "link", "show", "dev", "pf0"]
        infos = json.loads(where.run(show).stdout)[0]["vfinfo_list"]
        shown = sorted((_settings(info) for info in infos), key=lambda vf: vf["vlan"])
        test.expect(f"the VFs in {where.name}: {shown}", shown == expected)
        views = test.contender.command(where, "vfs")
        views = [{name: view[name] for name in GIVEN} for view in views]
        views.sort(key=lambda vf: vf["vlan"])
        test.expect(f"... as vfailover shows them: {views}", views == expected)


def _settings(info: dict[str, Any]) -> dict[str, int]:
    """Of what ip(8) shows of a VF."""
    tag = info["vlan_list"][0]
    return {
        "vlan": tag.get("vlan", 0),
        "qos": tag.get("qos", 0),
        "max-tx-rate": info["rate"]["max_tx"],
    }


def _trunk(test: Run, guest: Guest, stranger: marks.Marks) -> None:
    """A guest that sends and receives in two VLANs, and without a tag, by VF and standby."""
    stranger.change({})
    _put_on_trunk(test, guest)
    begin = stranger.tally(guest)
    stranger.change({**_CARRIED, _OUTSIDE: _OUTSIDE_VLAN})
    _carries(test, "its VF", stranger, guest)
    _trunk_refused(test, guest)
    lend(test, guest, "detach", guest.name)
    _carries(test, "its standby", stranger, guest)
    get_back(test, guest, "attach", guest.name)
    _carries(test, "its VF again", stranger, guest)
    capture = rarp.start(test.lab.host("hostb"), "pf0")
    guest = test.migrate(guest, "hostb")
    announced = set(rarp.sources(capture))
    tags = ["", *(f" VLAN {vlan}" for vlan in filter(None, _CARRIED.values()))]
    test.expect(
        f"announced in each of its VLANs: {announced}",
        announced >= {guest.mac + tag for tag in tags},
    )
    _carries(test, "its VF in hostb", stranger, guest)
    whole = stranger.tally(guest).since(begin)
    # Half of them are broadcasts, which come twice until the guest has paired its new VF.
    test.note("marked frames of the trunk", f"sent {dict(whole.sent)}, got {dict(whole.delivered)}")
    test.expect(f"no frame of VLAN {_OUTSIDE_VLAN}: {whole}", whole.delivered[_OUTSIDE] == 0)
    test.expect(f"no answer in another VLAN: {whole}", set(whole.answered) <= set(_CARRIED.items()))


def _put_on_trunk(test: Run, guest: Guest) -> None:
    """Guest, client and hosts, in both of which the tap is a trunk from here on."""
    hostb = test.lab.host("hostb")
    hostb.sh(f"ip link del {hostb.uplink}")
    hostb.uplink = "pf0"
    for host in test.lab.hosts:
        host.sh(_TRUNK)
    _set_vf_vlan(guest, 0)
    tagging.client_in_no_vlan()
    with guest.shell() as shell:
        shell.run("insmod /modules/*8021q.ko*")
        lowers = shell.run("ls -d /sys/class/net/eth*/lower_*").split()
        master = lowers[0].split("/")[4]
        for vlan in filter(None, _CARRIED.values()):
            shell.run(f"vconfig add {master} {vlan} && ip link set {master}.{vlan} up")


def _set_vf_vlan(guest: Guest, vlan: int) -> None:
    vf = state.read(guest.host).vf_of(guest.name)
    assert vf is not None
    index = guest.host.vfs.index(vf["pci"])
    guest.host.sh(f"ip link set pf0 vf {index} vlan {vlan}")


def _carries(test: Run, where: str, stranger: marks.Marks, guest: Guest) -> None:
    """The guest gets what it is sent in each of its VLANs, and answers in the same."""
    before = stranger.tally(guest)
    test.observe()
    tally = stranger.tally(guest).since(before)
    test.note(f"marked frames on {where}", f"{dict(tally.delivered)}, back {dict(tally.answered)}")
    test.expect(f"frames of {set(_CARRIED)}", set(tally.delivered) == set(_CARRIED))
    test.expect("answers in the VLANs they are in", set(tally.answered) == set(_CARRIED.items()))
    few = min((*tally.delivered.values(), *tally.answered.values()), default=0)
    # Of 100. The emulated card gives its PF no broadcast of a VLAN that no VF is in.
    test.expect(f"40 frames of each at least, not {few}", few > 40)


def _trunk_refused(test: Run, guest: Guest) -> None:
    """What the trunk carries must be what leaves the host, and what the VF does."""
    host, tap = guest.host, guest.host.standby
    alone = _OUTSIDE_VLAN + 1
    for change, undo, words in (
        (
            f"bridge vlan add dev {tap} vid {alone}",
            f"bridge vlan del dev {tap} vid {alone}",
            ("way out of the host", f"bridge vlan add dev pf0 vid {alone}"),
        ),
        (
            f"bridge vlan del dev {tap} vid 1; bridge vlan add dev {tap} vid {VLAN} pvid untagged",
            f"bridge vlan add dev {tap} vid {VLAN}; bridge vlan add dev {tap} vid 1 pvid untagged",
            ("VF is in no VLAN", f"what {tap} sends is in VLAN {VLAN}", f"vlan {VLAN}'"),
        ),
    ):
        host.sh(change)
        before = state.read(host)
        result = host.run([str(paths.COMMAND), "detach", guest.name], check=False)
        changed = state.differences(before, state.read(host))
        host.sh(undo)
        expect_refusal(test, change, result.status, result.stderr, 1, words)
        test.expect(f"{change}: no change: {changed}", not changed)
