# SPDX-License-Identifier: GPL-2.0-or-later
"""Both hosts as Debian sets them up: AppArmor confines libvirtd, and libvirtd each guest. What a
domain with a VF does in its life must not be denied, with vfailover as little as without."""

from concurrent.futures import ThreadPoolExecutor

from ..contenders import Libvirt, LibvirtVfailover
from ..contenders.libvirt_vfailover import HOOK, HOOK_PROGRAM
from ..errors import LabError
from ..libvirt import AppArmor, Domain, Libvirtd, apparmor, domain
from ..libvirt.domain import FILE
from ..run import Run
from . import libvirt_abort
from .libvirt_migrate import described, gone

DESCRIPTION = "AppArmor enforced: start, an abort, there and back, detach, attach; nothing is denied"
TEST = False  # Seven minutes.
CONTENDERS = (
    "libvirt-hostdev-vfailover",
    "libvirt-interface-vfailover",
    "libvirt-hostdev",
    "libvirt-interface",
)
VFS = 2

ELSEWHERE = "/usr/local/sbin/vfailover-hook"
PROFILE = f"libvirt-{domain.UUID}"
# libvirt has each profile compiled six times for a start.
START_SECONDS = 120
MOMENT_SECONDS = 180
USES_VF_SECONDS = 90

# Runs virsh while the daemon of the host stands still, so that libvirtd's hook waits for it, for 5 s;
# prints the hook's label. Looking for it starts no process, which would take too long.
_LABEL_OF_HOOK = """
daemon=$1
shift
kill -STOP "$daemon"
trap 'kill -CONT "$daemon"' EXIT
virsh -q "$@" >/dev/null &
for _ in $(seq 200); do
    for comm in /proc/[0-9]*/comm; do
        read -r name 2>/dev/null <"$comm" || continue
        if [ "$name" = vfailover ]; then
            cat "${comm%/comm}/attr/current"
            readlink "${comm%/comm}/exe"
            kill -CONT "$daemon"
            wait $!
            exit
        fi
    done
    sleep 0.05
done
echo "no hook has been run" >&2
exit 1
"""


def run(test: Run) -> None:
    contender = test.contender
    assert isinstance(contender, Libvirt)
    with ThreadPoolExecutor() as pool:
        guards = list(pool.map(_confine, contender.libvirtds.values()))
    hosta = test.lab.host("hosta")
    seen: dict[str, list[str]] = {}

    def judge(what: str) -> None:
        """Of all that was denied since the last time."""
        for guard in guards:
            said = [str(denial) for denial in guard.denials()]
            seen.setdefault(what, []).extend(f"{guard.host.name}: {line}" for line in said)
        test.judge(f"nothing denied ({what}): {seen[what]}", not seen[what])
        test.lab.say(f"{what}: {len(seen[what])} denied")

    judge("libvirtd")
    guest = _started(test, contender, guards[0])
    test.start_traffic(guest)
    _is_confined(test, guards[0], guest)
    judge("start")

    def memory_has_moved_for_a_while() -> None:
        libvirt_abort.event(guest, "MIGRATION", "active", MOMENT_SECONDS)
        test.observe()

    libvirt_abort.abort(test, guest, "the memory", memory_has_moved_for_a_while)
    judge("abort")

    for here, there in ((guards[0], guards[1]), (guards[1], guards[0])):
        arrived = test.migrate(guest, there.host.name)
        assert isinstance(arrived, Domain)
        gone(guest)
        test.expect(f"no {PROFILE} in {here.host.name}", PROFILE not in here.loaded())
        _is_confined(test, there, arrived)
        judge(f"{here.host.name} to {there.host.name}")
        guest = arrived

    if isinstance(contender, LibvirtVfailover):
        contender.command(hosta, "detach", guest.name)
        test.expect("no VF opened after detach", not domain.opened_vfs(hosta))
        judge("detach")
        times = guest.times_on_primary()
        contender.command(hosta, "attach", guest.name)
        guest.wait_on_primary(times + 1, USES_VF_SECONDS)
        _is_confined(test, guards[0], guest)
        judge("attach")

    test.finish()
    guest.kill()
    guest.quit()
    judge("destroy")
    test.add("denied", seen)


def _confine(libvirtd: Libvirtd) -> AppArmor:
    """Start it again, confined."""
    libvirtd.stop()
    guard = libvirtd.confine()
    libvirtd.start()
    assert libvirtd.process is not None
    _expect_label(guard, "libvirtd", libvirtd.process.pid, f"{apparmor.LIBVIRTD} {apparmor.ENFORCED}")
    return guard


def _started(test: Run, contender: Libvirt, guard: AppArmor) -> Domain:
    """The guest, on its VF. With vfailover its hook is looked at while it runs."""
    host = guard.host
    guest = contender.domain(test.lab, host, host.vfs[0])
    guest.write()
    create = ["create", FILE]
    if isinstance(contender, LibvirtVfailover):
        _elsewhere(test, guard, create)
        daemon = contender.daemons[host.name].pid
        _expect_label(guard, "vfailoverd", daemon, "unconfined")
        hook = host.run(
            ["/bin/sh", "-euc", _LABEL_OF_HOOK, "sh", str(daemon), *create], seconds=START_SECONDS
        ).stdout.split()
        test.expect(f"an unconfined hook, not {hook}", hook == ["unconfined", HOOK_PROGRAM])
    else:
        guest.virsh(*create)
    guest.expect()
    guest.wait_ready(primary=True)
    guest.learn_standby()
    test.lab.say(f"guest runs in {host.name} and uses its VF")
    return guest


def _elsewhere(test: Run, guard: AppArmor, create: list[str]) -> None:
    """The hook in a place from which libvirtd's profile lets nobody run programs: it is not run."""
    host = guard.host
    host.sh(f"cp {HOOK_PROGRAM} {ELSEWHERE}; ln -sf {ELSEWHERE} {HOOK}")
    said = host.run(["virsh", "-q", *create], check=False, seconds=START_SECONDS).stderr.strip()
    host.sh(f"ln -sf {HOOK_PROGRAM} {HOOK}")
    test.note(f"virsh with the hook in {ELSEWHERE}", said.replace("\n", " | "))
    test.expect(f"virsh that fails: {said}", "error:" in said)
    denied = [(denial.operation, denial.name) for denial in guard.denials()]
    test.expect(f"the hook denied, and nothing else: {denied}", set(denied) == {("exec", ELSEWHERE)})


def _is_confined(test: Run, guard: AppArmor, guest: Domain) -> None:
    """QEMU is in the profile of its domain, and that has the very VF that QEMU has open."""
    pid = (guard.host.read(f"/run/libvirt/qemu/{guest.name}.pid") or "").strip()
    _expect_label(guard, "QEMU", pid, f"{PROFILE} {apparmor.ENFORCED}")
    vf = described(guest)
    rules = guard.host.read(f"{apparmor.DIRECTORY}/libvirt/{PROFILE}.files") or ""
    files = rules.count(f"/{vf}/")
    groups = [line.strip() for line in rules.splitlines() if "/dev/vfio/" in line]
    test.note(f"{PROFILE} in {guard.host.name}", f"{files} files of {vf}, {' '.join(groups)}")
    others = [other for other in guard.host.vfs if other != vf and f"/{other}/" in rules]
    test.expect(f"rules for {vf} ({files}), none for {others}", files > 0 and not others)


def _expect_label(guard: AppArmor, what: str, pid: int | str, wanted: str) -> None:
    found = guard.label(pid)
    if found != wanted:
        raise LabError(f"{guard.host.name}: {what}, process {pid}, is {found!r}, not {wanted!r}")
