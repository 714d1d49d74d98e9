# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab gives libvirt, and what it reads of its answers."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lab import paths
from lab.errors import LabError
from lab.libvirt import Form, Spec, xml

SPEC = Spec(
    name="guest",
    uuid="12345678-0000-4000-8000-00000000000c",
    mac="52:54:00:aa:00:10",
    vf="0000:01:10.2",
    form=Form.HOSTDEV,
    emulator="/usr/bin/qemu & co",
    kernel="/k",
    ram_disk="/r",
    append="a=<b>",
    console="/console",
    shell_port=5655,
    qmp_port=5555,
    arguments=["-L", "/a'b"],
)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("managed", [False, True])
def test_pair(form: Form, managed: bool) -> None:
    """Both halves, each with what names the other."""
    text = xml.domain(dataclasses.replace(SPEC, form=form, managed=managed))
    root = ElementTree.fromstring(text)
    standby, *rest = root.findall("devices/interface")
    vf = root.find("devices/hostdev") if form is Form.HOSTDEV else rest[0]
    assert vf is not None
    assert standby.find("teaming").attrib == {"type": "persistent"}  # type: ignore[union-attr]
    alias = standby.find("alias")
    teaming = vf.find("teaming")
    assert alias is not None and teaming is not None
    assert teaming.attrib == {"type": "transient", "persistent": alias.get("name")}
    if form is not Form.NETWORK:
        assert vf.get("managed") == ("yes" if managed else "no")
    # A network's VF is in the XML of the running domain alone.
    assert xml.vf_of(text) == (None if form is Form.NETWORK else "0000:01:10.2")
    assert root.findtext("os/cmdline") == "a=<b>"
    assert root.findtext("devices/emulator") == "/usr/bin/qemu & co"
    assert "/a'b" in [arg.get("value") for arg in root.iter() if arg.tag.endswith("}arg")]


@pytest.mark.parametrize("form", [Form.HOSTDEV, Form.INTERFACE])
def test_second_pair(form: Form) -> None:
    mac = "52:54:00:aa:00:20"
    text = xml.add_pair(xml.domain(SPEC), form, "0000:02:10.1", mac, "ua-net2", "ua-vf1")
    assert xml.vfs_of(text) == ["0000:01:10.2", "0000:02:10.1"]
    devices = ElementTree.fromstring(text).findall("devices/*")
    aliases = {found.get("name") for device in devices if (found := device.find("alias")) is not None}
    assert aliases == {xml.STANDBY, xml.PRIMARY, "ua-net2", "ua-vf1"}
    teamings = [found.attrib for device in devices if (found := device.find("teaming")) is not None]
    assert {"type": "transient", "persistent": "ua-net2"} in teamings


def test_standby_alone() -> None:
    text = xml.domain(dataclasses.replace(SPEC, vf=None))
    assert xml.vf_of(text) is None
    assert "teaming" not in text


def test_bad_address() -> None:
    with pytest.raises(ValueError, match="01:10.2"):
        xml.device(Form.HOSTDEV, "01:10.2", SPEC.mac, managed=False)


def test_tap_of_running_domain() -> None:
    text = """<domain><devices>
    <interface type='hostdev'><target dev='no'/><teaming type='transient' persistent='x'/></interface>
    <interface type='bridge'><target dev='vnet3'/><teaming type='persistent'/></interface>
    </devices></domain>"""
    assert xml.tap_of(text) == "vnet3"
    assert xml.tap_of("<domain/>") is None


def test_completed_job() -> None:
    text = "Job type:         Completed\nTime elapsed:     8211 ms\nTotal downtime:   301 ms\n"
    assert xml.completed_ms(text) == (8211, 301)
    assert xml.completed_ms("Job type: None\n") == (0, 0)


def test_version_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    (tmp_path / "libvirt-9.0").mkdir()
    (tmp_path / "libvirt-of-bookworm").touch()
    monkeypatch.setenv("VFAILOVER_LIBVIRT", "9.0")
    assert paths.libvirt() == tmp_path / "libvirt-9.0"
    monkeypatch.setenv("VFAILOVER_LIBVIRT", "")
    with pytest.raises(LabError, match="no libvirt 11.3 .*there is: 9.0"):
        paths.libvirt()
