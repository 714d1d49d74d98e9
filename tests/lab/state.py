# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a host a hand-over may change, read in the host, and what there must be after one."""

import json
from dataclasses import dataclass, field
from typing import Any

from . import paths
from .errors import LabError
from .host import Host

# In one shell, as each command that the lab sends costs time. Without a daemon there is no list.
_SCRIPT = """
echo @link; ip -d -json link show dev pf0
echo @tap; ip -d -json link show dev "$2" 2>/dev/null || true
echo @fdb; bridge -json fdb show
echo @held; nft list ruleset bridge 2>/dev/null | grep elements || true
echo @drivers
for vf in /sys/class/net/pf0/device/virtfn*; do
    echo "$(readlink -f "$vf") $(readlink "$vf/driver" || echo none)"
done
for what in list vfs; do
    echo "@$what"; "$1" --json $what 2>/dev/null || echo null
done
"""
_JSON = ("link", "tap", "fdb", "list", "vfs")


@dataclass(frozen=True)
class State:
    """A host at one time."""

    host: str
    uplink: str | None = field(default="pf0", kw_only=True)
    """The bridge's port that leads to the network; None: the standby is a macvtap, which is in no
    bridge and has the guest's address in the PF's filter while the guest is there."""
    parts: dict[str, Any]
    standby: str = field(default="tap0", kw_only=True)
    """The tap of the guest."""

    @property
    def vfs(self) -> list[dict[str, Any]]:
        """As `vfailover vfs` has them."""
        return self.parts["vfs"] or []

    def vf_of(self, vm: str) -> dict[str, Any] | None:
        """The VF that a VM owns."""
        return next((vf for vf in self.vfs if vf["owner"] == vm), None)

    def vf(self, pci: str) -> dict[str, Any]:
        """The VF of that address."""
        for vf in self.vfs:
            if vf["pci"] == pci:
                return vf
        raise LabError(f"{self.host}: vfailover vfs has no VF {pci}")

    def side_of(self, vm: str) -> str | None:
        """What carries a VM's traffic, `vf` or `standby`; None without such a VM."""
        for entry in self.parts["list"] or []:
            if entry["name"] == vm and entry["pairs"]:
                return entry["pairs"][0]["side"]
        return None

    def lets_in(self, mac: str) -> bool:
        """Whether the PF's own filter has the address."""
        return any(e["mac"] == mac and "self" in e.get("flags", []) and e["ifname"] == "pf0"
                   for e in self.parts["fdb"])  # fmt: skip

    def bridge_port(self, mac: str) -> str | None:
        """The port to which the bridge's entry points that somebody has set."""
        for entry in self.parts["fdb"]:
            if entry["mac"] == mac and entry.get("master") and "self" not in entry["flags"]:
                return entry["ifname"]
        return None

    @property
    def holds(self) -> bool:
        """Whether frames may be held on the tap."""
        return bool(self.parts["held"])


def read(host: Host) -> State:
    """The host as it is now."""
    out = host.run(["/bin/sh", "-uc", _SCRIPT, "sh", str(paths.COMMAND), host.standby]).stdout
    parts: dict[str, Any] = {}
    for section in out.split("@link", 1)[1:]:
        name, lines = "link", []
        for line in [*section.splitlines(), "@end"]:
            if not line.startswith("@"):
                lines.append(line)
                continue
            text = "\n".join(lines).strip()
            parts[name] = json.loads(text or "[]") if name in _JSON else text.splitlines()
            name, lines = line[1:], []
    if set(parts) != {*_JSON, "held", "drivers"}:
        raise LabError(f"{host.name}: its state cannot be read: {out}")
    for name in ("link", "tap"):
        parts[name] = _without_timers(parts[name])
    # What a bridge has learned comes and goes with the traffic.
    parts["fdb"] = sorted(
        (entry for entry in parts["fdb"] if entry.get("state") in ("permanent", "static")),
        key=lambda entry: (entry["ifname"], entry["mac"], str(entry)),
    )
    return State(host.name, parts, uplink=host.uplink, standby=host.standby)


def _without_timers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_timers(v) for k, v in value.items() if not k.endswith("_timer")}
    if isinstance(value, list):
        return [_without_timers(entry) for entry in value]
    return value


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """What is not the same, each with the way to it."""
    if isinstance(before, State) and isinstance(after, State):
        return differences(before.parts, after.parts, before.host)
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[str] = []
        for key in sorted({*before, *after}):
            found += differences(before.get(key), after.get(key), f"{where} {key}".strip())
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        found = []
        for number, (old, new) in enumerate(zip(before, after)):
            found += differences(old, new, f"{where}[{number}]")
        return found
    return [] if before == after else [f"{where}: was {before}, is {after}"]


def left(before: State, after: State, vm: str, mac: str) -> list[str]:
    """What is wrong with a host that a VM has left, `before` being while it was there."""
    old = before.vf_of(vm)
    if old is None:
        return [f"{before.host}: {vm} had no VF before it left"]
    vf = after.vf(old["pci"])
    return _wrong(
        {
            f"{vf['pci']} parked": vf["parked"] and vf["mac"] != mac,
            f"{vf['pci']} with vfio-pci, closed": vf["driver"] == "vfio-pci" and not vf["opened"],
            f"{vf['pci']} without owner and lease": not vf["owner"] and not vf["lease"],
            f"generation of {vf['pci']} one more": vf["generation"] == old["generation"] + 1,
            f"no {mac} in the PF's filter": not after.lets_in(mac),
            f"no entry for {mac} in the bridge": after.bridge_port(mac) is None,
            "no frames held": not after.holds,
        },
        after,
    )


def arrived(after: State, vm: str, mac: str) -> list[str]:
    """What is wrong with a host on which a VM has arrived and uses a VF."""
    vf = after.vf_of(vm)
    if vf is None:
        return [f"{after.host}: {vm} owns no VF"]
    return _wrong(
        {
            f"{vf['pci']} with the guest's {mac}": vf["mac"] == mac and not vf["parked"],
            f"{vf['pci']} open, without lease": vf["opened"] and not vf["lease"],
            "no other VF with that address": [v["mac"] for v in after.vfs].count(mac) == 1,
            "side vf": after.side_of(vm) == "vf",
            f"{mac} in the PF's filter only with a macvtap": after.lets_in(mac)
            == (after.uplink is None),
            f"the bridge's entry for {mac} at {after.uplink}": after.bridge_port(mac)
            == after.uplink,
            "no frames held": not after.holds,
        },
        after,
    )


def arrived_on_standby(before: State, after: State, vm: str, mac: str) -> list[str]:
    """What is wrong with a host on which a VM has arrived that lives on its standby."""
    return _wrong(
        {
            "side standby": after.side_of(vm) == "standby",
            "no VF touched": before.vfs == after.vfs,
            f"{mac} in the PF's filter": after.lets_in(mac),
            f"the bridge's entry for {mac} at {after.standby}": after.bridge_port(mac)
            == after.standby,
            "no frames held": not after.holds,
        },
        after,
    )


def _wrong(expected: dict[str, Any], state: State) -> list[str]:
    return [f"{state.host}: expected {what}" for what, holds in expected.items() if not holds]
