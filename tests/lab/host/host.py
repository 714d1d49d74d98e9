# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtualization host that is itself a QEMU: a PF with VFs, an IOMMU, nested KVM.

Its root file system is this machine's, so every program and every build directory is in it under
the same path; what it writes is gone with it, except what goes to LOGS.
"""

import json
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import fabric, initramfs, kernel, paths, process, wait
from ..errors import DeadlineError, LabError
from ..qmp import Qmp
from .agent import PORT

LOGS = "/var/log/lab"
"""Where a host writes what shall outlive it: its own directory of the run."""

BOOT_SECONDS = 90
INITRAMFS_MODULES = ["virtio_pci", "9p", "9pnet_virtio", "overlay"]
DIRECTORY = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


class Background:
    """A program that goes on running in a host."""

    def __init__(self, host: "Host", pid: int, name: str) -> None:
        self.host = host
        self.pid = pid
        self.name = name

    def poll(self, seconds: float = 0) -> int | None:
        """Its exit status, or None if it runs on."""
        request = {"operation": "poll", "pid": self.pid, "timeout": seconds}
        return self.host.ask(request, seconds + 30)["status"]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.host.ask({"operation": "signal", "pid": self.pid, "signal": number})

    def wait(self, seconds: float) -> int:
        """Its exit status, once it has ended."""
        status = self.poll(seconds)
        if status is None:
            raise DeadlineError(f"{self.host.name}: end of {self.name}: not within {seconds:g} s")
        return status


class Host:
    """One host of the lab; `number` (from 1) gives it its addresses."""

    def __init__(
        self,
        name: str,
        number: int,
        directory: Path,
        memory_mb: int,
        layer: Path | None = None,
        pfs: int = 1,
    ) -> None:
        self.name = name
        self.number = number
        self.mgmt = f"10.8.0.{number}"
        self.address = f"10.9.0.{number}"
        self.vfs: list[str] = []
        self.standby = "tap0"
        """What the guest's standby is on."""
        self.uplink: str | None = "pf0"
        """The port of the bridge that leads to the network; None: the standby is in no bridge."""
        self.directory = directory
        self.console = directory / "console.log"
        self._memory_mb = memory_mb
        self._pfs = pfs
        self._layer = layer
        """A tree that lies over this machine's root."""
        self._qemu: subprocess.Popen[str] | None = None

    def boot(self, peers: dict[str, str]) -> None:
        """Start it; `peers` are the names and management addresses of all hosts."""
        self.directory.mkdir(parents=True)
        self.console.touch()
        ram_disk = self.directory / "initramfs"
        initramfs.build(ram_disk, DIRECTORY / "initramfs-init", INITRAMFS_MODULES, {})
        mgmt_tap = f"{self.name}-mgmt"
        fabric.add_tap(self.fabric_tap, fabric.TOR)
        fabric.add_tap(mgmt_tap, fabric.MGMT)
        parameters = {
            "name": self.name,
            "mgmt": f"{self.mgmt}/24",
            "hosts": ",".join(f"{address}:{name}" for name, address in peers.items()),
            "modules": str(paths.KERNEL / "lib" / "modules"),
            "agent": str(DIRECTORY / "agent.py"),
            "init": str(DIRECTORY / "init"),
        }
        if self._layer is not None:
            parameters["layer"] = "layer"
        # no_timer_check: the kernel's test of its timer fails when this machine is busy for 10 ms.
        append = (
            "console=ttyS0 panic=-1 quiet no_timer_check intel_iommu=on iommu=pt mitigations=off "
        ) + " ".join(f"lab_{key}={value}" for key, value in parameters.items())
        tap = "script=no,downscript=no"
        argv = ["qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-reboot"]
        argv += ["-display", "none", "-serial", f"file:{self.console}"]
        # igb needs an IOMMU to hand out VFs, and this machine's KVM may not run a stock kernel.
        argv += ["-M", "q35", "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max", "-smp", "1"]
        argv += ["-m", str(self._memory_mb), "-device", "intel-iommu,intremap=on"]
        argv += ["-virtfs", "local,path=/,mount_tag=root,security_model=none,"
                 "readonly=on,multidevs=remap"]  # fmt: skip
        if self._layer is not None:
            argv += ["-virtfs", f"local,path={self._layer},mount_tag=layer,security_model=none,"
                     "readonly=on,multidevs=remap"]  # fmt: skip
        argv += ["-virtfs", f"local,path={self.directory},mount_tag=logs,security_model=none"]
        argv += ["-netdev", f"tap,id=mgmt,ifname={mgmt_tap},{tap}"]
        mgmt_mac = f"52:54:00:00:08:{self.number:02x}"
        argv += ["-device", f"virtio-net-pci,netdev=mgmt,mac={mgmt_mac},romfile="]
        argv += ["-device", "pcie-root-port,id=root1,chassis=1,slot=1,bus=pcie.0,addr=10"]
        argv += ["-netdev", f"tap,id=fabric,ifname={self.fabric_tap},{tap}"]
        argv += ["-device", f"igb,id=pf,bus=root1,netdev=fabric,mac={self.mac},romfile="]
        if self._pfs > 1:
            storage_tap = f"{self.name}-sto"
            fabric.add_tap(storage_tap, fabric.STORAGE)
            argv += ["-device", "pcie-root-port,id=root2,chassis=2,slot=2,bus=pcie.0,addr=11"]
            argv += ["-netdev", f"tap,id=storage,ifname={storage_tap},{tap}"]
            storage_mac = f"52:54:00:00:0c:{self.number:02x}"
            argv += ["-device", f"igb,id=pf1,bus=root2,netdev=storage,mac={storage_mac},romfile="]
        argv += ["-qmp", f"unix:{self.directory}/qmp.sock,server=on,wait=off"]
        argv += ["-kernel", str(kernel.image()), "-initrd", str(ram_disk), "-append", append]
        self._qemu = process.spawn(argv, self.directory / "qemu.log")

    @property
    def fabric_tap(self) -> str:
        """Where its cable is plugged in: a port of the tor bridge."""
        return f"{self.name}-tor"

    @property
    def has_macvtap(self) -> bool:
        """Whether the guest's standby is a macvtap."""
        return self.uplink is None

    @property
    def mac(self) -> str:
        """The PF's."""
        return f"52:54:00:00:0a:{self.number:02x}"

    def wait_ready(self) -> None:
        """Wait until commands can be run."""

        def ready() -> bool:
            if self._qemu is None or self._qemu.poll() is not None:
                raise LabError(f"{self.name}: went down while booting, see {self.directory}")
            return "lab: agent ready" in self.console.read_text(errors="replace")

        wait.until(f"{self.name}: boot", ready, BOOT_SECONDS)

    def prepare(self, vfs: int) -> None:
        """Set up PF, bridge and VFs; `self.vfs` are their PCI addresses."""
        script = str(DIRECTORY / "prepare")
        out = self.run([script, f"{self.address}/24", str(vfs), str(self.number)]).stdout
        self.vfs = out.split()
        if len(self.vfs) != vfs:
            raise LabError(f"{self.name}: {len(self.vfs)} VFs instead of {vfs}: {out}")

    def parking_mac(self, vf: int) -> str:
        """The MAC that a VF has while no guest uses it."""
        return f"02:00:00:{self.number:02x}:00:{vf:02x}"

    def set_vf_mac(self, vf: int, mac: str) -> None:
        """Give a VF a MAC."""
        self.run(["ip", "link", "set", "pf0", "vf", str(vf), "mac", mac])

    def ask(self, request: dict[str, Any], seconds: float = 30) -> dict[str, Any]:
        """One request to the agent."""
        try:
            with socket.create_connection((self.mgmt, PORT), timeout=seconds) as connection:
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    answer = json.loads(lines.readline() or b"null")
        except OSError as error:
            raise LabError(f"{self.name}: agent: {request['operation']}: {error}") from error
        if answer is None:
            raise LabError(f"{self.name}: agent: {request['operation']}: no answer")
        if "error" in answer:
            raise LabError(f"{self.name}: {request['operation']}: {answer['error']}")
        return answer

    def run(
        self,
        argv: list[str],
        check: bool = True,
        seconds: float = 60,
        stdin: str = "",
        environment: dict[str, str] | None = None,
    ) -> Result:
        """Run a command in the host to its end; with `check`, an exit status but 0 is an error."""
        request = {"operation": "run", "argv": argv, "stdin": stdin, "timeout": seconds}
        answer = self.ask({**request, "env": environment or {}}, seconds + 10)
        what = f"{self.name}: {' '.join(argv)}"
        if answer["timed_out"]:
            raise DeadlineError(f"{what}: not done within {seconds:g} s: {answer['stderr']}")
        result = Result(answer["status"], answer["stdout"], answer["stderr"])
        if check and result.status != 0:
            raise LabError(f"{what}: exit status {result.status}: {result.stderr or result.stdout}")
        return result

    def sh(self, script: str, check: bool = True, seconds: float = 60) -> Result:
        """Run a piece of shell in the host."""
        return self.run(["/bin/sh", "-euc", script], check, seconds)

    def start(
        self, argv: list[str], log: str, environment: dict[str, str] | None = None
    ) -> Background:
        """Start a program that goes on; its output goes to the file `log` among the host's logs."""
        request = {"operation": "start", "argv": argv, "log": f"{LOGS}/{log}"}
        answer = self.ask({**request, "env": environment or {}})
        return Background(self, answer["pid"], Path(argv[0]).name)

    def read(self, path: str) -> str | None:
        """A file's content, None if there is no such file."""
        return self.ask({"operation": "read", "path": path})["data"]

    def write(self, path: str, data: str, mode: int = 0o644) -> None:
        """Write a file, and the directories above it."""
        self.ask({"operation": "write", "path": path, "data": data, "mode": mode})

    def wait_path(self, path: str, seconds: float) -> None:
        """Wait until a file (or socket) exists."""
        request = {"operation": "exists", "path": path}
        what = f"{self.name}: {path} there"
        wait.until(what, lambda: self.ask(request)["exists"], seconds)

    def set_cable(self, plugged: bool) -> None:
        """Plug in or pull the cable of the PF."""
        monitor = Qmp(self.name, self.directory / "qmp.sock", self.directory / "qmp.log")
        try:
            monitor.command("set_link", name="pf", up=plugged)
        finally:
            monitor.close()

    def processor_seconds(self) -> float:
        """What this machine has spent on emulating the host so far."""
        if self._qemu is None:
            raise LabError(f"{self.name}: it does not run")
        return process.processor_seconds(self._qemu.pid)

    def stop(self) -> None:
        """Pull the plug."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
