# SPDX-License-Identifier: GPL-2.0-or-later
"""What is made of a host's state."""

from typing import Any

from lab import state
from lab.state import State

MAC = "52:54:00:aa:00:10"


def host(**changes: Any) -> State:
    """A host on which the guest has arrived, but for the changes of its VF or its parts."""
    vf = {
        "pci": "0000:01:10.0",
        "owner": "guest",
        "lease": None,
        "mac": MAC,
        "parked": False,
        "opened": True,
        "driver": "vfio-pci",
        "generation": 0,
    }
    parts: dict[str, Any] = {
        "vfs": [{k: changes.pop(k, value) for k, value in vf.items()}],
        "list": [{"name": "guest", "pairs": [{"side": "vf"}]}],
        "fdb": [{"mac": MAC, "ifname": "pf0", "flags": ["sticky"], "master": "br0"}],
        "held": [],
    }
    return State("hosta", {**parts, **changes})


def test_arrived() -> None:
    assert state.arrived(host(), "guest", MAC) == []
    own = {"mac": MAC, "ifname": "pf0", "flags": ["self"]}
    for wrong, word in [
        (host(fdb=[own, *host().parts["fdb"]]), "filter"),
        (host(fdb=[]), "bridge"),
        (host(held=['elements = { "tap0" }']), "held"),
        (host(lease="1c3e"), "lease"),
        (host(mac="02:00:00:01:00:00"), MAC),
        (host(owner=None), "no VF"),
    ]:
        assert any(word in line for line in state.arrived(wrong, "guest", MAC))


def test_left() -> None:
    gone: dict[str, Any] = {"owner": None, "opened": False, "parked": True, "generation": 1}
    gone |= {"mac": "02:00:00:01:00:00", "fdb": []}
    assert state.left(host(), host(**gone), "guest", MAC) == []
    for key in gone:
        kept = {k: value for k, value in gone.items() if k != key}
        assert len(state.left(host(), host(**kept), "guest", MAC)) == 1


def test_differences() -> None:
    assert state.differences(host(), host()) == []
    assert state.differences(host(), host(generation=2)) == [
        "hosta vfs[0] generation: was 0, is 2"
    ]
    assert state.differences([1], [1, 2], "x") == ["x: was [1], is [1, 2]"]
