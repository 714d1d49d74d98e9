# SPDX-License-Identifier: GPL-2.0-or-later
"""One migration, frame by frame."""

from lab import timeline
from lab.analysis import TO_CLIENT, TO_GUEST, Arrival, Record

S = 1_000_000
MS = 1_000


def test_pack() -> None:
    times = [-500, -100, 0, 2000, 2000, 70_000]
    assert timeline.pack(times) == "-500 400 100 2000 0 68000"
    assert timeline.unpack(timeline.pack(times)) == times
    assert timeline.unpack(timeline.pack([])) == []


def test_frames() -> None:
    # The client sends every 100 ms and the guest does not get frame 25; the guest sends as often
    # and its frames 22 and 23 do not arrive, while 24 arrives twice.
    sent = [n * 100 * MS for n in range(60)]
    came = [n for n in range(60) if n not in (22, 23)]
    arrivals = [Arrival(n, sent[n] + 5 * MS, 0, n + 1 if n < 25 else n) for n in came]
    arrivals.insert(23, Arrival(24, sent[24] + 6 * MS, 0, 25))
    record = Record(sent, [n for n in range(60) if n != 25], arrivals, 60)
    found = timeline.of(record, (2 * S, 3 * S))
    assert (found["begin_us"], found["end_us"]) == (-500 * MS, 1500 * MS)
    to_guest, to_client = found["frames"]
    assert (to_guest["direction"], to_client["direction"]) == (TO_GUEST, TO_CLIENT)
    assert timeline.unpack(to_guest["lost"]) == [500 * MS]
    assert len(timeline.unpack(to_client["lost"])) == 2
    assert all(105 * MS < us < 405 * MS for us in timeline.unpack(to_client["lost"]))
    # Within the window, from 1.5 to 3.5 s: 15..34, less those that never came.
    assert len(timeline.unpack(to_client["news"])) == 20 - 2
    assert 405 * MS in timeline.unpack(to_client["news"])
    assert 406 * MS not in timeline.unpack(to_client["news"])
    # With frame 25 lost, the guest tells nothing new in the frame that it sent then.
    assert 505 * MS not in timeline.unpack(to_guest["news"])
    assert 605 * MS in timeline.unpack(to_guest["news"])
