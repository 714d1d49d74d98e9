# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that a migration must refuse before it touches anything.

Each case sets one thing wrong, asks for the migration, and puts the thing right again. It looks
at both hosts before and after the attempt: nothing may have changed.
"""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from .. import certificates, paths, state, wait
from ..contenders import Vfailover
from ..contenders.vfailover import SOCKET
from ..guest import Guest
from ..guest.guest import QMP_DIRECTORY
from ..host import Host
from ..run import Run

DESCRIPTION = "migrations that must be refused, each with one clear line and nothing changed"
CONTENDERS = ("vfailover",)
VFS = 2

PROGRESS = re.compile(r" *\d+\.\d{3} s  host[ab]: .*")
OTHER_MAC = "52:54:00:bb:00:10"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
COMMAND = str(paths.COMMAND)


class Cases:
    """The attempts, and what is known of the hosts between them."""

    def __init__(self, test: Run, guest: Guest) -> None:
        self.test = test
        self.guest = guest
        self.count = 0
        self._known: dict[str, state.State] | None = None

    def touched(self) -> None:
        """The hosts are no longer as the last case left them: look again before the next."""
        self._known = None

    def refused(
        self, what: str, *words: str, argv: list[str] | None = None, status: int = 1
    ) -> None:
        """Run a command that must fail with one line that has these words, and change nothing."""
        before = self._known or self._look()
        host = self.guest.host
        argv = argv or [COMMAND, "migrate", self.guest.name, "hostb"]
        result = host.run(argv, check=False)
        expect_refusal(self.test, what, result.status, result.stderr, status, words)
        after = self._look()
        changed = [
            line for name, old in before.items() for line in state.differences(old, after[name])
        ]
        self.test.expect(f"{what}: no change: {'; '.join(changed)}", not changed)
        self._known = after
        self.count += 1
        line = result.stderr.strip().splitlines()[-1]
        self.test.lab.say(f"{what}: {line.removeprefix('vfailover: ')}")

    def reachable(self, what: str) -> None:
        """The guest answers a ping, through whatever it uses."""

        def ping() -> bool:
            argv = ["ping", "-c", "1", "-W", "1", self.guest.address]
            return subprocess.run(argv, stdout=subprocess.DEVNULL).returncode == 0

        wait.until(f"{what}: a ping's answer", ping, 10)

    def _look(self) -> dict[str, state.State]:
        with ThreadPoolExecutor() as pool:
            return {each.host: each for each in pool.map(state.read, self.test.lab.hosts)}


def expect_refusal(
    test: Run, what: str, status: int, stderr: str, expected: int, words: tuple[str, ...]
) -> None:
    """The exit status, and one line besides those that show the steps."""
    lines = [line for line in stderr.splitlines() if not PROGRESS.fullmatch(line)]
    test.expect(f"{what}: exit status {expected}, not {status}: {stderr}", status == expected)
    test.expect(f"{what}: one line: {lines}", len(lines) == 1)
    missing = [word for word in words if word not in lines[0]]
    test.expect(f"{what}: {missing} in: {lines[0]}", not missing)


def run(test: Run) -> None:
    vfailover = test.contender
    assert isinstance(vfailover, Vfailover)
    hosta, hostb = test.lab.hosts
    # A VF with another MAC than the guest's is one of the cases.
    vfailover.reconfigure(test.lab, hosta, {"daemon": {"guest-mac": "log"}})
    guest = test.start_guest("hosta")
    test.start_traffic(guest, spacing_us=20_000)
    since_us = test.wait_vf("guest on its VF before the cases", 0)
    cases = Cases(test, guest)

    _names(cases)
    _users(cases)
    _configurations(test, hosta, vfailover)
    cases.refused("no VM at the destination", "destination", "'guest'", "guest.sock")
    _destination_vms(cases, hostb)
    with waiting(cases, hostb):
        _vfs(cases, hostb)
        _filter(cases, hostb)
        _vf_of_the_guest(cases, hosta)
        _certificates(cases, vfailover, hosta, hostb)
        _pf_down(cases, hostb, "the destination")
    _daemons(cases, vfailover, hosta, hostb)

    cases.reachable("after all cases")
    test.expect(
        "the guest on its VF all the time",
        test.wait_vf("guest on its VF after the cases", 0) == since_us,
    )
    test.finish()
    # Last: a VF does not survive that its PF goes down (igb).
    with waiting(cases, hostb):
        _pf_down(cases, hosta, "the source")
    test.lab.say(f"{cases.count} attempts refused")


# -------------------------------------------------------------------- names and users


def _names(cases: Cases) -> None:
    def migrate(vm: str, host: str) -> list[str]:
        return [COMMAND, "migrate", vm, host]

    cases.refused(
        "an unknown VM", "'nosuch'", "guest", "nosuch.sock",
        argv=migrate("nosuch", "hostb"), status=2,
    )  # fmt: skip
    cases.refused("a bad name", "name of a VM", argv=migrate("../guest", "hostb"), status=2)
    cases.refused(
        "an unknown host", "'hostc'", "hostb", argv=migrate("guest", "hostc"), status=2
    )
    host = cases.guest.host
    ghost = f"{QMP_DIRECTORY}/ghost.sock"
    bind = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    host.run(["/usr/bin/python3", "-I", "-S", "-c", bind, ghost])
    cases.touched()
    cases.refused(
        "a socket that no QEMU serves", "'ghost'", ghost, argv=migrate("ghost", "hostb")
    )
    host.sh(f"rm {ghost}")
    cases.touched()


def _users(cases: Cases) -> None:
    host = cases.guest.host
    listed = host.run([*NOBODY, COMMAND, "list"]).stdout
    cases.test.expect(f"nobody sees the guest: {listed}", cases.guest.name in listed)
    cases.refused(
        "a user without the right", "migrate", "no right", "admin-group",
        argv=[*NOBODY, COMMAND, "migrate", cases.guest.name, "hostb"],
    )  # fmt: skip


# ------------------------------------------------------------------------ configuration


def _configurations(test: Run, host: Host, vfailover: Vfailover) -> None:
    good = vfailover.config(test.lab, host)
    bad = {
        "is no key file": ("port 16516\n" + good, ()),
        "has an unknown key": (good.replace("port=", "prot=", 1), ("[daemon] prot",)),
        "has an unknown group": (good + "[peers]\n", ("[peers]",)),
        "has a bad value": (good.replace("port=16516", "port=99999", 1), ("[daemon] port",)),
        "has a bad policy": (good + "[migration]\nno-vf=maybe\n", ("[migration] no-vf", "refuse")),
        "has an unknown datapath": (
            good.replace("bridge=br0", "bridge=br0\ndatapath=ovs"),
            ("[network lan] datapath", "'ovs'", "macvtap"),
        ),
        "has a bridge for macvtaps": (
            good.replace("bridge=br0", "bridge=br0\ndatapath=macvtap"),
            ("[network lan] bridge", "leave it out"),
        ),
        "names no network": (good.split("[network")[0], ("[network",)),
    }
    path = "/etc/vfailover/bad.conf"
    for what, (text, words) in bad.items():
        host.write(path, text)
        for how in (["--check"], []):
            argv = [str(paths.DAEMON), "--config", path, *how]
            result = host.run(argv, check=False, seconds=10)
            name = f"a configuration that {what} {' '.join(how)}"
            expect_refusal(test, name, result.status, result.stderr, 2, (path, *words))
        test.lab.say(f"a configuration that {what}: {result.stderr.strip()}")


# ---------------------------------------------------------------- the VM at the destination


def _replace(old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda argv: [word.replace(old, new) for word in argv]


@contextmanager
def waiting(
    cases: Cases,
    host: Host,
    alter: Callable[[list[str]], list[str]] = list,
    incoming: bool = True,
) -> Iterator[Guest]:
    """A QEMU at the destination, for as long as that."""
    there = cases.test.lab.start_guest(host, None, incoming=incoming, alter=alter)
    wait_known(there)
    cases.touched()
    try:
        yield there
    finally:
        there.quit()
        # The kernel takes the tap's carrier away a moment later.
        wait.until(f"{host.name}: tap0 without carrier", lambda: _is_down(host, "tap0"), 20)
        cases.touched()


def wait_known(guest: Guest) -> None:
    """The daemon looks at a new VM by itself; it shall have done so before a state is read."""
    host = guest.host
    wait.until(
        f"{host.name}: the daemon knows {guest.name}",
        lambda: state.read(host).side_of(guest.name) or _reads_no_pair(host, guest.name),
        20,
    )


def _is_down(host: Host, interface: str) -> bool:
    return host.read(f"/sys/class/net/{interface}/operstate") == "down\n"


def _reads_no_pair(host: Host, name: str) -> bool:
    """The VM is known, but has no pair."""
    known = state.read(host).parts["list"] or []
    return any(vm["name"] == name and vm["machine"] for vm in known)


def _destination_vms(cases: Cases, host: Host) -> None:
    with waiting(cases, host, lambda argv: [*argv, "-S"], incoming=False):
        cases.refused("a VM that does not wait", "VM guest", "destination", "-incoming defer")
    with waiting(cases, host, _replace(Guest.mac, OTHER_MAC)):
        cases.refused("another MAC there", "net1", Guest.mac, OTHER_MAC, "mac=")
    with waiting(cases, host, _replace("q35", "pc-q35-7.2")):
        cases.refused("another machine type there", "VM guest", "pc-q35-7.2", "-machine")
    with waiting(cases, host, _replace("id=root2", "id=root9")):
        cases.refused("no room for the VF there", "VM guest", "pcie-root-port", "id=root2")
    with waiting(cases, host, _replace("failover=on,", "")):
        cases.refused("no standby there", "VM guest", "net1", "failover=on")
    with waiting(cases, host) as there:
        # Not as quit() would: the socket's file stays.
        there.kill()
        wait.until(
            f"{host.name}: the daemon has lost {there.name}",
            lambda: _status(host, there.name) == "unreachable",
            20,
        )
        cases.touched()
        cases.refused("a QEMU there that was killed", "destination", "'guest'", "guest.sock")
        host.sh(f"rm {QMP_DIRECTORY}/{there.name}.sock")


def _status(host: Host, name: str) -> str | None:
    for vm in state.read(host).parts["list"] or []:
        if vm["name"] == name:
            return vm["status"]
    return None


# ------------------------------------------------------------------------------ VFs, PFs


def _vfs(cases: Cases, host: Host) -> None:
    words = ("no VF", "'lan'", "vfio-pci", "destination")
    driver = "/sys/bus/pci/drivers/vfio-pci"
    host.sh("\n".join(f"echo {pci} >{driver}/unbind" for pci in host.vfs))
    cases.touched()
    cases.refused("all VFs there without vfio-pci", *words)
    host.sh("\n".join(f"echo {pci} >/sys/bus/pci/drivers_probe" for pci in host.vfs))
    groups = [vf["iommu-group"] for vf in state.read(host).vfs]
    opens = "\n".join(f"exec {fd}<>/dev/vfio/{group}" for fd, group in enumerate(groups, start=3))
    # The file says that all are open.
    script = f"{opens}\n: >/run/held\nexec sleep 600"
    holder = host.start(["/bin/sh", "-euc", script], "holder.log")
    host.wait_path("/run/held", 20)
    cases.touched()
    cases.refused("all VFs there held by others", *words)
    holder.signal(signal.SIGKILL)
    holder.wait(10)
    cases.touched()


def _filter(cases: Cases, host: Host) -> None:
    """The PF there has no room for the guest's address."""
    added = host.sh(
        "n=16\n"
        "while [ $n -lt 256 ] && bridge fdb add 02:00:00:00:ff:$(printf %02x $n) dev pf0 self; do\n"
        "    n=$((n + 1))\n"
        "done\n"
        "echo $n"
    ).stdout
    cases.touched()
    entries = json.loads(host.run(["bridge", "-json", "fdb", "show", "dev", "pf0"]).stdout)
    own = [e["mac"] for e in entries if "self" in e["flags"] and not int(e["mac"][:2], 16) & 1]
    full = f"filter table is full, with {len(own)} addresses"
    cases.refused("a full filter there", Guest.mac, "PF pf0", full)
    host.sh(
        f"n=16\nwhile [ $n -lt {int(added)} ]; do\n"
        "    bridge fdb del 02:00:00:00:ff:$(printf %02x $n) dev pf0 self\n"
        "    n=$((n + 1))\n"
        "done"
    )
    cases.touched()


def _vf_of_the_guest(cases: Cases, host: Host) -> None:
    def set_mac(mac: str) -> None:
        host.run(["ip", "link", "set", "pf0", "vf", "0", "mac", mac])
        cases.touched()

    set_mac(OTHER_MAC)
    cases.refused(
        "a VF whose MAC is not the standby's",
        "VM guest", host.vfs[0], OTHER_MAC, Guest.mac, "ip link set pf0 vf 0 mac",
    )  # fmt: skip
    set_mac(Guest.mac)
    cases.reachable("with its own MAC again")
    cases.guest.qmp.command("stop")
    wait.until(
        "the daemon sees the pause", lambda: _status(host, cases.guest.name) == "paused", 20
    )
    cases.touched()
    cases.refused("a paused VM", "VM guest", "not running", "resume")
    cases.guest.qmp.command("cont")
    wait.until("the daemon sees it run", lambda: _status(host, "guest") == "running", 20)
    cases.touched()


def _pf_down(cases: Cases, host: Host, where: str) -> None:
    host.run(["ip", "link", "set", "pf0", "down"])
    cases.touched()
    cases.refused(f"the PF down at {where}", "PF pf0 is down", "ip link set pf0 up")
    host.run(["ip", "link", "set", "pf0", "up"])
    wait.until(
        f"{host.name}: carrier", lambda: host.read("/sys/class/net/pf0/carrier") == "1\n", 20
    )
    cases.touched()


# --------------------------------------------------------------- certificates and daemons


def _certificates(cases: Cases, vfailover: Vfailover, hosta: Host, hostb: Host) -> None:
    pki = certificates.directory([host.name for host in cases.test.lab.hosts])
    # Of another certificate authority.
    foreign = certificates.directory([hosta.name])

    def wrong(what: str, files: dict[str, str], *words: str) -> None:
        hosta.sh("\n".join(f"cp {source} {certificates.INSTALLED}/{name}.pem"
                           for name, source in files.items()))  # fmt: skip
        cases.refused(what, *words)
        certificates.install(hosta, pki)

    def client(directory: str) -> dict[str, str]:
        return {name: f"{directory}/{name}.pem" for name in ("clientcert", "clientkey")}

    wrong("our certificate of another CA", client(f"{foreign}/hosta"),
          "hostb", "did not accept our certificate", "clientcert.pem")  # fmt: skip
    wrong("our certificate with another name", client(f"{pki}/hostb"),
          "hostb", "did not accept our certificate", "[peer]")  # fmt: skip
    wrong("another CA here", {"cacert": f"{foreign}/hosta/cacert.pem"},
          "hostb", "not signed by the CA", "cacert.pem")  # fmt: skip
    wrong("no certificate here", {"clientcert": "/dev/null"}, "clientcert.pem", "[tls]")

    # What a daemon serves with it reads when it starts.
    hostb.sh(f"cp {pki}/hosta/server*.pem {certificates.INSTALLED}/")
    vfailover.reconfigure(cases.test.lab, hostb, {})
    cases.touched()
    cases.refused("their certificate with another name", "does not carry the name 'hostb'")
    certificates.install(hostb, pki)
    vfailover.reconfigure(cases.test.lab, hostb, {})
    cases.touched()


def _daemons(cases: Cases, vfailover: Vfailover, hosta: Host, hostb: Host) -> None:
    vfailover.stop_daemon(hostb)
    cases.touched()
    cases.refused("no daemon at the destination", "hostb", hostb.mgmt, "16516", "does its vfail")
    vfailover.start_daemon(hostb)
    for how, number in (("stopped", signal.SIGTERM), ("killed", signal.SIGKILL)):
        vfailover.stop_daemon(hosta, number)
        cases.touched()
        cases.refused(f"a daemon that was {how}", "vfailoverd", SOCKET, "run")
        cases.refused(f"list from a daemon that was {how}", SOCKET, argv=[COMMAND, "list"])
        vfailover.start_daemon(hosta)
    # It has to find the guest again.
    wait.until("the daemon knows the guest", lambda: _status(hosta, "guest") == "running", 20)
    cases.touched()
