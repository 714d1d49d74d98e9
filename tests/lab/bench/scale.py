# SPDX-License-Identifier: GPL-2.0-or-later
"""What many VFs cost the daemon: to read them all, to change one, and in memory.

The card is netdevsim, in an emulated host. Next to it, iproute2 does the same. Messages are those
that strace sees at the netlink sockets, in runs of their own.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import certificates, isolation, netdevsim, paths, runs, setup, wait
from ..contenders import Vfailover
from ..contenders.vfailover import SOCKET
from ..errors import LabError
from ..guest.guest import QMP_DIRECTORY
from ..host import Host
from ..lab import Lab

DESCRIPTION = "time, messages and memory for 64 and for 1024 VFs, next to iproute2"

SCALE = str(paths.BUILD / "tests" / "unit" / "scale")
COMMAND = str(paths.COMMAND)
CONFIG = "/etc/vfailover/scale.conf"
SECONDS = 120
BATCH = 64

# Started where it is measured, as a command of the lab takes 30 ms by itself.
_TIMES_SCRIPT = """
import subprocess, sys, time
for _ in range(int(sys.argv[1])):
    since = time.perf_counter()
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print((time.perf_counter() - since) * 1000)
"""
_SENT = re.compile(r"(sendto|sendmsg)\(.*(AF_NETLINK|nlmsg_len)")
_RECEIVED = re.compile(r"(recvfrom|recvmsg)\(.*AF_NETLINK.* = (\d+)$")


@dataclass(frozen=True)
class Messages:
    """What went through netlink sockets: requests, and reads of answers, which may be several."""

    requests: int
    answers: int
    bytes: int

    def __sub__(self, other: "Messages") -> "Messages":
        return Messages(
            self.requests - other.requests, self.answers - other.answers, self.bytes - other.bytes
        )

    def __floordiv__(self, count: int) -> "Messages":
        return Messages(self.requests // count, self.answers // count, self.bytes // count)


@dataclass(frozen=True)
class Row:
    """One way to do one thing with so many VFs; `seen`: of them, `ms`: median, `worst_ms`."""

    vfs: int
    what: str
    how: str
    ms: float
    worst_ms: float
    messages: Messages | None = None
    seen: int | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to FILE")
    parser.add_argument("--vfs", type=int, nargs="+", default=[64, 1024], help="(64 1024)")
    parser.add_argument("--rounds", type=int, default=11, help="of each measurement, 2 or more (11)")


def run(given: argparse.Namespace) -> int:
    """Measure, and say what came of it."""
    if not setup.ready():
        return 1
    directory = runs.new("scale")
    code = isolation.run(lambda: _measure_and_write(given, directory))
    found = directory / "scale.json"
    if not found.exists():
        print(runs.last_lines(directory), file=sys.stderr)
        print(f"bench: scale failed; all logs: {directory}", file=sys.stderr)
        return code or 1
    print(table(json.loads(found.read_text())))
    if given.json:
        given.json.write_text(found.read_text())
    return code


def _measure_and_write(given: argparse.Namespace, directory: Path) -> int:
    rows: list[Row] = []
    memory: list[dict[str, Any]] = []
    try:
        with Lab(directory, vfs=1, names=("hosta",)) as lab:
            host = lab.hosts[0]
            for vfs in given.vfs:
                card = netdevsim.insert(host, vfs)
                lab.say(f"{vfs} VFs are there")
                rows += _inventory(card, given.rounds) + _change(card, given.rounds)
                rows.append(_daemon(lab, card, given.rounds, memory))
                lab.say(f"{vfs} VFs: done")
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report = {
        "bench": "scale",
        "rounds": given.rounds,
        "rows": [asdict(row) for row in rows],
        "memory": memory,
        "logs": str(directory),
    }
    (directory / "scale.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _inventory(card: netdevsim.Card, rounds: int) -> list[Row]:
    host = card.host
    ours = _own(card, "read", rounds, 0)
    asked = _own(card, "ask", rounds, 0)
    show = ["ip", "-json", "link", "show"]
    links = json.loads(host.run(show).stdout)
    seen = sum(len(link.get("vfinfo_list", [])) for link in links if link["ifname"] == netdevsim.PF)
    return [
        _row(card, "read all", "vfailoverd's code", [us / 1000 for _, us in ours], seen=ours[0][0],
             messages=_messages(host, _own_argv(card, 1, 0))
             - _messages(host, _own_argv(card, 0, 0))),
        _row(card, "read all", "... netlink alone", [us / 1000 for _, us in asked],
             seen=asked[0][0]),
        _row(card, "read all", "ip -json link show", _times(host, show, rounds), seen=seen,
             messages=_messages(host, show)),
        _row(card, "(nothing)", "ip -V", _times(host, ["ip", "-V"], rounds)),
    ]  # fmt: skip


def _change(card: netdevsim.Card, rounds: int) -> list[Row]:
    host = card.host
    vf = str(card.vfs // 2)
    change = ["ip", "link", "set", netdevsim.PF, "vf", vf, "mac", "02:5c:a1:e0:00:03"]
    batch = "".join(
        f"link set {netdevsim.PF} vf {vf} mac 02:5c:a1:e0:01:{number:02x}\n"
        for number in range(BATCH)
    )
    host.write("/run/scale.batch", batch)
    host.write("/run/scale.one", batch.splitlines()[0] + "\n")
    many = _times(host, ["ip", "-batch", "/run/scale.batch"], rounds)
    one = statistics.median(_times(host, ["ip", "-batch", "/run/scale.one"], rounds))
    ours = _own(card, "change", 1, rounds)
    return [
        _row(card, "change one", "vfailoverd's code, read back", [us / 1000 for _, us in ours],
             messages=_messages(host, _own_argv(card, 1, 1))
             - _messages(host, _own_argv(card, 1, 0))),
        _row(card, "change one", "ip link set", _times(host, change, rounds),
             messages=_messages(host, change)),
        _row(card, "change one", "ip -batch, each further one",
             [(ms - one) / (BATCH - 1) for ms in many],
             messages=(_messages(host, ["ip", "-batch", "/run/scale.batch"])
                       - _messages(host, ["ip", "-batch", "/run/scale.one"])) // (BATCH - 1)),
    ]  # fmt: skip


def _own_argv(card: netdevsim.Card, readings: int, changes: int) -> list[str]:
    return [SCALE, card.sysfs, netdevsim.PF, str(readings), str(changes)]


def _own(
    card: netdevsim.Card, what: str, readings: int, changes: int
) -> list[tuple[int, int]]:
    """What our code says of one thing: VFs (or the VF) and microseconds, each time."""
    out = card.host.run(_own_argv(card, readings, changes), seconds=SECONDS).stdout
    words = [line.split() for line in out.splitlines()]
    return [(int(number), int(us)) for kind, number, us in words if kind == what]


def _daemon(
    lab: Lab, card: netdevsim.Card, rounds: int, memory: list[dict[str, Any]]
) -> Row:
    """The daemon itself, asked by the command."""
    host = card.host
    settings = Vfailover().config(lab, host, {"network lan": {"pf": netdevsim.PF}})
    host.write(CONFIG, settings)
    certificates.install(host, certificates.directory([host.name]))
    host.sh(f"rm -f {SOCKET}; mkdir -p {QMP_DIRECTORY} /var/lib/vfailover")
    daemon = host.start(card.disguise([str(paths.DAEMON), "--config", CONFIG]), "vfailoverd.log")
    ask = [COMMAND, "--json", "vfs"]
    try:
        host.wait_path(SOCKET, SECONDS)
        before = _memory(host, daemon.pid)
        seen = len(json.loads(host.run(ask, seconds=SECONDS).stdout))
        times = _times(host, ask, rounds)
        memory.append({"vfs": card.vfs, "started_kb": before, "used_kb": _memory(host, daemon.pid)})
        messages = _traced(host, daemon.pid, lambda: host.run(ask, seconds=SECONDS))
    finally:
        daemon.signal(15)
        daemon.wait(SECONDS)
    return _row(card, "read all", "vfailover vfs", times, seen=seen, messages=messages)


def _memory(host: Host, pid: int) -> dict[str, int]:
    status = host.read(f"/proc/{pid}/status") or ""
    found = dict(re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB$", status, re.MULTILINE))
    if len(found) != 2:
        raise LabError(f"{host.name}: process {pid} has no memory: {status[:200]}")
    return {"rss": int(found["VmRSS"]), "anonymous": int(found["RssAnon"])}


def _times(host: Host, argv: list[str], rounds: int) -> list[float]:
    """Milliseconds of a program from its start to its end, each time."""
    command = ["/usr/bin/python3", "-c", _TIMES_SCRIPT, str(rounds + 1), *argv]
    # The first reads the program from the lab's machine.
    return [float(line) for line in host.run(command, seconds=SECONDS).stdout.split()][1:]


_STRACE = ["strace", "-f", "-qq", "-e", "trace=sendto,sendmsg,recvfrom,recvmsg"]
_TRACE = "/run/scale.strace"


def _messages(host: Host, argv: list[str]) -> Messages:
    host.run([*_STRACE, "-o", _TRACE, *argv], seconds=SECONDS)
    return messages_of(host.read(_TRACE) or "")


def _traced(host: Host, pid: int, function: Callable[[], object]) -> Messages:
    """The messages of a running program while the function runs."""
    tracer = host.start([*_STRACE, "-o", _TRACE, "-p", str(pid)], "strace.log")

    def attached() -> bool:
        return "TracerPid:\t0\n" not in (host.read(f"/proc/{pid}/status") or "")

    wait.until(f"{host.name}: strace attached", attached, SECONDS)
    function()
    tracer.signal(2)
    tracer.wait(SECONDS)
    return messages_of(host.read(_TRACE) or "")


def messages_of(trace: str) -> Messages:
    """What strace has seen, without the looks at the size of what comes next."""
    requests = answers = size = 0
    for line in trace.splitlines():
        if _SENT.search(line):
            requests += 1
        received = _RECEIVED.search(line)
        if received and "MSG_PEEK" not in line:
            answers += 1
            size += int(received.group(2))
    return Messages(requests, answers, size)


def _row(card: netdevsim.Card, what: str, how: str, times: list[float], **more: Any) -> Row:
    return Row(card.vfs, what, how, statistics.median(times), max(times), **more)


def table(report: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{'VFs':>5}  {'what':<11} {'how':<29} {'ms':>8} {'worst':>8} {'requests':>9} "
        f"{'answers':>8} {'bytes':>9} {'VFs seen':>9}"
    ]
    for row in report["rows"]:
        found = row["messages"] or {"requests": "", "answers": "", "bytes": ""}
        seen = "" if row["seen"] is None else row["seen"]
        lines.append(
            f"{row['vfs']:>5}  {row['what']:<11} {row['how']:<29} {row['ms']:>8.2f} "
            f"{row['worst_ms']:>8.2f} {found['requests']:>9} {found['answers']:>8} "
            f"{found['bytes']:>9} {seen:>9}"
        )
    for entry in report["memory"]:
        used = entry["used_kb"]
        lines.append(
            f"{entry['vfs']:>5}  vfailoverd: {used['rss']} kB resident, {used['anonymous']} kB of it "
            f"its own; {entry['started_kb']['rss']} kB before the first question"
        )
    return "\n".join(lines)
