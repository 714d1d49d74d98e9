# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of the traffic, by phase.

Times are microseconds of the client's clock. The guest's clock stops while the guest is stopped, so
nothing is ever dated by it.

- Client to guest: a frame belongs to the phase in which it was sent. A gap lasts from the sending
  of a delivered frame to the sending of the next delivered one: the outage as the flow sees it.
  Without loss it equals the spacing. A silence is a time in which nothing new reached the guest,
  loss or not; frames may have been held up. It is known from the guest's own frames, which say how
  many have reached it.
- Guest to client: a frame belongs to the phase in which it arrived; a lost one is placed between
  the arrivals of its neighbours in sequence. A gap lasts from the arrival before a loss to the
  arrival after it; without loss there is none. A silence is the time between two arrivals, loss or
  not: a stopped guest is silent and loses nothing.

Of a gap or silence that reaches beyond a phase, the phase gets the part that lies in it.
"""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TO_GUEST = "client to guest"
TO_CLIENT = "guest to client"

Span = tuple[int, int]
"""From the first time (included) to the second (excluded)."""


@dataclass(frozen=True)
class Arrival:
    """A frame from the guest as the client received it."""

    sequence: int
    us: int
    links: int = 0
    received: int = 0
    """How many frames the guest had received when it sent this one."""


@dataclass(frozen=True)
class Phase:
    """A named part of the run; it may consist of several spans."""

    name: str
    spans: tuple[Span, ...]

    def contains(self, us: float) -> bool:
        return any(start <= us < end for start, end in self.spans)

    def longest_part(self, spans: Iterable[Span]) -> int:
        """The longest part of any of these that lies within one span of the phase."""
        return max(
            (
                min(end, own_end) - max(start, own_start)
                for start, end in spans
                for own_start, own_end in self.spans
                if min(end, own_end) > max(start, own_start)
            ),
            default=0,
        )


@dataclass
class Record:
    """What the probe recorded."""

    sent: list[int]
    """When the client sent each frame; the index is the sequence number."""
    delivered: list[int]
    """The sequence numbers that the guest received, in its order."""
    arrivals: list[Arrival]
    """What the client received, in its order."""
    guest_sent: int
    """How many frames the guest sent, numbered from 0."""
    echoes: list[tuple[int, int | None]] = field(default_factory=list)
    """TCP messages: when sent, when echoed."""
    tcp_alive: bool = True
    skipped: int = 0
    """Frames that the client did not send because it woke up late."""
    guest_skipped: int = 0


@dataclass(frozen=True)
class Flow:
    """One direction of the traffic in one phase."""

    name: str
    direction: str
    sent: int
    lost: int
    duplicated: int
    longest_gap_ms: float
    longest_silence_ms: float


def _between(times: list[int], start: int, end: int) -> list[Span]:
    edges = [start, *times, end]
    return [(a, b) for a, b in zip(edges, edges[1:]) if b > a]


def _news_to_guest(record: Record) -> list[int]:
    """When the guest had received more than before, as its own frames tell."""
    most = 0
    news: list[int] = []
    for arrival in record.arrivals:
        if arrival.received > most:
            most = arrival.received
            news.append(arrival.us)
    return news


def _silences_of_guest(record: Record) -> list[Span]:
    if not record.arrivals:
        return []
    return _between(_news_to_guest(record), record.arrivals[0].us, record.arrivals[-1].us)


class _ToGuest:
    """The flow from the client, prepared for being asked about phases."""

    def __init__(self, record: Record) -> None:
        self._sent = record.sent
        self._copies = Counter(record.delivered)
        arrived = [us for sequence, us in enumerate(record.sent) if self._copies[sequence]]
        self._gaps = _between(arrived, record.sent[0], record.sent[-1]) if record.sent else []
        self._silences = _silences_of_guest(record)

    def flow(self, phase: Phase) -> Flow:
        frames = [n for n, us in enumerate(self._sent) if phase.contains(us)]
        return Flow(
            phase.name,
            TO_GUEST,
            len(frames),
            sum(self._copies[n] == 0 for n in frames),
            sum(max(self._copies[n] - 1, 0) for n in frames),
            phase.longest_part(self._gaps) / 1000,
            phase.longest_part(self._silences) / 1000,
        )

    def lost(self) -> list[int]:
        """When the frames that never arrived were sent."""
        return [us for n, us in enumerate(self._sent) if self._copies[n] == 0]


class _ToClient:
    """The flow from the guest."""

    def __init__(self, record: Record) -> None:
        first: dict[int, int] = {}
        self._duplicates: list[int] = []
        for arrival in record.arrivals:
            if arrival.sequence in first:
                self._duplicates.append(arrival.us)
            else:
                first[arrival.sequence] = arrival.us
        end = max([*record.sent[-1:], *(a.us for a in record.arrivals[-1:])], default=0)
        begin = record.arrivals[0].us if record.arrivals else end
        self._present = list(first.values())
        self._missing: list[float] = []
        self._gaps: list[Span] = []
        for before, after in _holes(first, record.guest_sent):
            start = first.get(before, begin)
            stop = first.get(after, end)
            count = after - before - 1
            self._missing += [start + (stop - start) * n / (count + 1) for n in range(1, count + 1)]
            # Reordering can put the arrivals around a hole the other way round.
            self._gaps.append((min(start, stop), max(start, stop)))
        self._silences = _between([arrival.us for arrival in record.arrivals], begin, end)

    def flow(self, phase: Phase) -> Flow:
        lost = sum(phase.contains(us) for us in self._missing)
        return Flow(
            phase.name,
            TO_CLIENT,
            sum(phase.contains(us) for us in self._present) + lost,
            lost,
            sum(phase.contains(us) for us in self._duplicates),
            phase.longest_part(self._gaps) / 1000,
            phase.longest_part(self._silences) / 1000,
        )

    def lost(self) -> list[int]:
        """Where the frames that never arrived are placed."""
        return [round(us) for us in self._missing]


def _holes(present: dict[int, int], count: int) -> Iterator[tuple[int, int]]:
    """The neighbours of each run of missing numbers; -1 and `count` stand for the edges."""
    before = -1
    for sequence in range(count):
        if sequence in present:
            if sequence - before > 1:
                yield before, sequence
            before = sequence
    if count - before > 1:
        yield before, count


def flows(record: Record, phases: list[Phase]) -> list[Flow]:
    """Both directions of every phase."""
    to_guest, to_client = _ToGuest(record), _ToClient(record)
    return [flow for phase in phases for flow in (to_guest.flow(phase), to_client.flow(phase))]


@dataclass(frozen=True)
class Frames:
    """One direction of the traffic, frame by frame."""

    direction: str
    news: list[int]
    """When something new arrived; what the gap is counted from."""
    lost: list[int]


def frames(record: Record) -> list[Frames]:
    """Both directions."""
    first: dict[int, int] = {}
    for arrival in record.arrivals:
        first.setdefault(arrival.sequence, arrival.us)
    return [
        Frames(TO_GUEST, _news_to_guest(record), _ToGuest(record).lost()),
        Frames(TO_CLIENT, list(first.values()), _ToClient(record).lost()),
    ]


UNDER_WAY_US = 50_000


def stopped_us(record: Record, stop_us: int) -> int:
    """When the guest was stopped, as the frames to it see it.

    A frame takes a while from the client to the guest, more so in emulated hosts. One that was
    under way when the source stopped the guest is lost to the stop, although it was sent before:
    the frames lost without a break up to the stop, of its last 50 ms, belong to it.
    """
    delivered = set(record.delivered)
    sequence = bisect.bisect_left(record.sent, stop_us) - 1
    stopped = stop_us
    while sequence >= 0 and sequence not in delivered:
        if record.sent[sequence] < stop_us - UNDER_WAY_US:
            break
        stopped = record.sent[sequence]
        sequence -= 1
    return stopped


def longest_stall_ms(record: Record) -> float:
    """The longest time that a TCP message took there and back; the unanswered count to the end."""
    end = max((sent for sent, _ in record.echoes), default=0)
    return max(((echoed or end) - sent for sent, echoed in record.echoes), default=0) / 1000
