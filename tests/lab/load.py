# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is busy with while it migrates: each way a large file over TCP, an iperf3 stream
and a captured trace that is replayed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import clock, trace, wait
from .analysis import TO_CLIENT, TO_GUEST
from .end import Client, End, GuestEnd, Task
from .errors import LabError
from .guest import Guest
from .lab import Lab

PROGRAMS = ("iperf3", "tcpdump", "tcpreplay")
"""What the guest has to have."""

FILE_BYTES = 32 << 20
SECONDS = 90
"""How long all of it lasts, undisturbed: longer than a migration, also where much else runs."""

CONGESTION_CONTROL = "cubic"
"""The guest's kernel's; this machine's may be any."""

STREAM_BITS = 1_000_000
"""All of it together must not be more than an emulated guest can take in: what is measured is what
its migration does to it."""
PACING_US = 20_000
"""How often iperf3 looks whether it may send; by default a thousand times a second."""

TRACE_SECONDS = 8
TRACE_FRAMES = 300
SAMPLE_BYTES = 1 << 20
FRAME_MAX = 1514
BRING_BYTES_PER_SECOND = 8 << 20
LATE_SECONDS = 180
SETTLE_SECONDS = 20
TRACES = {TO_GUEST: "trace-to-guest.pcap", TO_CLIENT: "trace-to-client.pcap"}
SEEN = {TO_GUEST: "seen-in-guest.pcap", TO_CLIENT: "seen-in-client.pcap"}
PORTS = {TO_GUEST: 7100, TO_CLIENT: 7101}

NETWORK = "10.9.0.0/24"
TRACE_NETWORK = "198.51.100.0/24"
"""Nobody's: frames for it are seen where they arrive, and nobody answers."""


@dataclass(frozen=True)
class Copy:
    """A file that was copied over TCP."""

    bytes: int
    retransmits: int
    needless: int
    """Of these, segments that had not been lost: they were late."""
    seconds: float
    longest_stall_ms: float
    """As the client's end saw it, whose clock does not stop: nothing acknowledged, or nothing come."""
    equal: bool


@dataclass(frozen=True)
class Stream:
    """One of iperf3's connections."""

    bytes: int
    retransmits: int
    bytes_at_the_end: int
    """In the last second."""


class _Capture:
    """A capture that runs: of what comes in at an interface of that end, or of what goes out.

    Of the sender's alone: the emulated card gives a guest some of its own frames back, see
    probe/capture.c.
    """

    def __init__(
        self, end: End, interface: str, side: str, sender: End, network: str, name: str
    ) -> None:
        self._end = end
        self._path = end.path(name)
        self._sizes: list[str] = []
        argv = ["tcpdump", "-Z", "root", "-n", "-p", "-U", "--immediate-mode", "-B", "8192"]
        argv += ["-i", interface, "-Q", side, "-w", self._path]
        argv.append(f"ip and ether src {sender.mac} and net {network} and less {FRAME_MAX}")
        self._task = end.start(f"capture-{name}", argv)
        self._task.wait_for("listening on")

    def settle(self) -> None:
        """Wait until all is in the file that was on its way."""
        wait.until(f"{self._task.what}: an end", self._is_complete, SETTLE_SECONDS, 0.5)

    def end(self) -> str:
        """End it; where the file is."""
        self._task.terminate()
        written = self._task.result()
        if "\n0 packets dropped by kernel" not in written:
            raise LabError(f"{self._task.what}: it has not seen everything: {written.strip()}")
        return self._path

    def _is_complete(self) -> bool:
        self._sizes.append(self._end.run(f"stat -c %s {self._path}"))
        return self._sizes[-2:-1] == self._sizes[-1:]


class Load:
    """All of it, for a guest that has the PROGRAMS."""

    def __init__(self, lab: Lab, guest: Guest) -> None:
        self._client = Client(lab.directory / "load")
        self._guest = GuestEnd(guest)
        self._tap = guest.host.fabric_tap
        self._senders: dict[str, End] = {TO_GUEST: self._client, TO_CLIENT: self._guest}
        self._receivers: dict[str, End] = {TO_GUEST: self._guest, TO_CLIENT: self._client}
        self._sums = {}
        for direction, sender in self._senders.items():
            sender.run(f"head -c {FILE_BYTES} /dev/urandom >{sender.path('file')}")
            self._sums[direction] = sender.checksum("file")
        self._guest.run("iperf3 -s -D")

    def _copy(self, direction: str, name: str, to: str, rate: int) -> tuple[Task, Task]:
        """Start to copy a file."""
        sender, receiver = self._senders[direction], self._receivers[direction]
        port = str(PORTS[direction])
        argv = [receiver.probe, "receive", port, receiver.path(to)]
        receiving = receiver.start(f"receive-{to}", argv)
        receiving.wait_for("ready")
        argv = [sender.probe, "send", receiver.address, port, sender.path(name), str(rate)]
        return sender.start(f"send-{name}", argv), receiving

    def _bring(self, direction: str, name: str) -> None:
        for task in self._copy(direction, name, name, BRING_BYTES_PER_SECOND):
            task.result()

    def record_trace(self) -> None:
        """Capture for some seconds what is between client and guest, and a file."""
        started_us = clock.now_us()
        captures = {
            direction: _Capture(
                self._client, self._tap, side, self._senders[direction], NETWORK,
                f"captured-{side}.pcap",
            )  # fmt: skip
            for direction, side in ((TO_GUEST, "out"), (TO_CLIENT, "in"))
        }
        # Not the other way, too: a guest's segments become frames in its card, and are seen before.
        sample = self._client.path("sample")
        self._client.run(f"head -c {SAMPLE_BYTES} {self._client.path('file')} >{sample}")
        for task in self._copy(TO_GUEST, "sample", "sample-copy", SAMPLE_BYTES // TRACE_SECONDS):
            task.result()
        self._trace_seconds = (clock.now_us() - started_us) / 1e6
        for direction, capture in captures.items():
            captured = capture.end()
            if len(trace.read(Path(captured))) < TRACE_FRAMES:
                raise LabError(f"next to no frames were captured, {direction}")
            maps = f"--srcipmap={NETWORK}:{TRACE_NETWORK} --dstipmap={NETWORK}:{TRACE_NETWORK}"
            files = f"-i {captured} -o {self._client.path(TRACES[direction])}"
            self._client.run(f"tcprewrite {maps} {files}")
            trace.number(Path(self._client.path(TRACES[direction])))
        self._bring(TO_GUEST, TRACES[TO_CLIENT])

    def start(self) -> None:
        """Start all of it."""
        self._captures = {
            direction: _Capture(
                receiver, receiver.interface, "in", self._senders[direction], TRACE_NETWORK,
                SEEN[direction],
            )  # fmt: skip
            for direction, receiver in self._receivers.items()
        }
        self._copies = {
            direction: self._copy(direction, "file", "file-copy", FILE_BYTES // SECONDS)
            for direction in self._senders
        }
        argv = ["iperf3", "-c", self._guest.address, "--bidir", "-J", "-t", str(SECONDS)]
        argv += ["-C", CONGESTION_CONTROL, "--pacing-timer", str(PACING_US)]
        self._stream = self._client.start("iperf3", [*argv, "-b", str(STREAM_BITS)])
        replay = ["tcpreplay", "-q", "--timer=nano", "-x", f"{self._trace_seconds / SECONDS:.3f}"]
        self._replays = {
            direction: sender.start(
                "replay", [*replay, "-i", sender.interface, sender.path(TRACES[direction])]
            )
            for direction, sender in self._senders.items()
        }

    def runs(self) -> bool:
        """Whether none of it has ended, as far as the client's end can tell."""
        tasks = [self._copies[TO_GUEST][0], self._stream, self._replays[TO_GUEST]]
        return all(task.status(0) is None for task in tasks)

    def move_to(self, guest: Guest) -> None:
        """The guest is there now."""
        self._guest.move_to(guest)

    def finish(self) -> dict[str, Any]:
        """Wait for the end of all of it; what came of it."""
        copies = {direction: self._copied(direction) for direction in self._senders}
        streams = streamed(self._stream.result(LATE_SECONDS))
        for replay in self._replays.values():
            replay.result(LATE_SECONDS)
        for capture in self._captures.values():
            capture.settle()
            capture.end()
        self._bring(TO_CLIENT, SEEN[TO_GUEST])
        deliveries = {}
        for direction in self._senders:
            sent, seen = (Path(self._client.path(names[direction])) for names in (TRACES, SEEN))
            deliveries[direction] = trace.delivery(trace.read(sent), trace.read(seen))
        return {
            "files": {direction: asdict(copy) for direction, copy in copies.items()},
            "iperf3": {direction: asdict(stream) for direction, stream in streams.items()},
            "trace": {direction: asdict(delivery) for direction, delivery in deliveries.items()},
        }

    def _copied(self, direction: str) -> Copy:
        sending, receiving = self._copies[direction]
        sent, again, needless, took_us, unacknowledged_us = _numbers(sending.result(LATE_SECONDS))
        received, nothing_us = _numbers(receiving.result())
        stall_us = unacknowledged_us if direction == TO_GUEST else nothing_us
        same = self._receivers[direction].checksum("file-copy") == self._sums[direction]
        return Copy(
            received, again, needless, took_us / 1e6, stall_us / 1e3, same and received == sent
        )


def _numbers(text: str) -> list[int]:
    """Of what the probe wrote about a file: its last line."""
    return [int(word) for word in text.splitlines()[-1].split()]


def streamed(text: str) -> dict[str, Stream]:
    """Of what iperf3 wrote about one connection each way."""
    try:
        report = json.loads(text)
        last = report["intervals"][-1]
        return {
            direction: Stream(
                report["end"][f"sum_received{suffix}"]["bytes"],
                report["end"][f"sum_sent{suffix}"]["retransmits"],
                last[f"sum{suffix}"]["bytes"],
            )
            for direction, suffix in ((TO_GUEST, ""), (TO_CLIENT, "_bidir_reverse"))
        }
    except (ValueError, KeyError, IndexError) as error:
        raise LabError(f"iperf3 gave no figures: {text[:300]}") from error


def broken(found: dict[str, Any]) -> list[str]:
    """What did not live through it: nothing, if all is well."""
    wrong = []
    for direction, copy in found["files"].items():
        if not copy["equal"] or copy["bytes"] != FILE_BYTES:
            wrong.append(f"the file, {direction}, arrived otherwise than it was sent")
    for direction, stream in found["iperf3"].items():
        if stream["bytes_at_the_end"] == 0:
            wrong.append(f"iperf3, {direction}, does not get anything through any more")
    for direction, delivery in found["trace"].items():
        if delivery["lost"] == delivery["sent"]:
            wrong.append(f"of the trace, {direction}, nothing has arrived")
        if delivery["foreign"]:
            wrong.append(f"of the trace, {direction}, {delivery['foreign']} frames were altered")
    return wrong


def words(found: dict[str, Any]) -> dict[str, str]:
    """The same for people, by what it is."""
    text = {}
    for direction, copy in found["files"].items():
        text[f"file, {direction}"] = (
            f"{copy['bytes'] / 1e6:.1f} MB in {copy['seconds']:.1f} s, "
            f"{'SHA-256 equal' if copy['equal'] else 'DIFFERENT'}, "
            f"{copy['retransmits']} retransmissions ({copy['needless']} needless), "
            f"longest stall {copy['longest_stall_ms']:.0f} ms"
        )
    for direction, stream in found["iperf3"].items():
        text[f"iperf3, {direction}"] = (
            f"{stream['bytes'] / 1e6:.1f} MB, {stream['retransmits']} retransmissions"
        )
    for direction, delivery in found["trace"].items():
        text[f"trace, {direction}"] = (
            f"{delivery['sent']} frames, {delivery['lost']} lost, {delivery['duplicated']} twice, "
            f"{delivery['reordered']} out of order"
        )
    return text
