# SPDX-License-Identifier: GPL-2.0-or-later
"""The analysis of the traffic, with logs made by hand."""

from lab.analysis import (
    TO_CLIENT,
    TO_GUEST,
    Arrival,
    Flow,
    Phase,
    Record,
    flows,
    longest_stall_ms,
    stopped_us,
)

MS = 1000
ALL = Phase("all", ((0, 10**9),))


def record(
    sent: int = 0,
    delivered: list[int] | None = None,
    arrivals: list[tuple[int, int]] | None = None,
    guest_sent: int | None = None,
) -> Record:
    """Client frames every 2 ms from 0; arrivals as (sequence, milliseconds)."""
    came = [Arrival(sequence, ms * MS) for sequence, ms in arrivals or []]
    return Record(
        [n * 2 * MS for n in range(sent)],
        list(range(sent)) if delivered is None else delivered,
        came,
        len(came) if guest_sent is None else guest_sent,
    )


def flow(log: Record, direction: str, phase: Phase = ALL) -> Flow:
    return next(flow for flow in flows(log, [phase]) if flow.direction == direction)


def test_nothing_lost_to_guest() -> None:
    result = flow(record(100), TO_GUEST)
    assert (result.sent, result.lost, result.duplicated) == (100, 0, 0)
    assert result.longest_gap_ms == 2


def test_lost_to_guest() -> None:
    log = record(100, [n for n in range(100) if n not in (40, 41, 42, 90)])
    result = flow(log, TO_GUEST)
    assert result.lost == 4
    # From frame 39, sent at 78 ms, to frame 43, sent at 86 ms.
    assert result.longest_gap_ms == 8


def test_lost_to_guest_at_both_ends() -> None:
    result = flow(record(10, [3, 4, 5]), TO_GUEST)
    assert result.lost == 7
    assert result.longest_gap_ms == 8  # from frame 5 to the last one sent, 9
    assert flow(record(10, []), TO_GUEST).longest_gap_ms == 18


def test_duplicated_to_guest() -> None:
    result = flow(record(10, [*range(10), 4, 4, 7]), TO_GUEST)
    assert (result.lost, result.duplicated) == (0, 3)


def test_reordered_to_guest_is_not_lost() -> None:
    result = flow(record(6, [0, 2, 1, 5, 4, 3]), TO_GUEST)
    assert (result.lost, result.duplicated, result.longest_gap_ms) == (0, 0, 2)


def test_gap_to_guest_across_the_border_of_a_phase() -> None:
    # Frames 10..29 are lost: a gap from 18 ms to 60 ms.
    log = record(100, [n for n in range(100) if not 10 <= n < 30])
    before = flow(log, TO_GUEST, Phase("before", ((0, 30 * MS),)))
    after = flow(log, TO_GUEST, Phase("after", ((30 * MS, 200 * MS),)))
    assert (before.sent, before.lost, before.longest_gap_ms) == (15, 5, 12)
    assert (after.sent, after.lost, after.longest_gap_ms) == (85, 15, 30)


def test_phase_of_two_spans_does_not_join_them() -> None:
    log = record(100, [n for n in range(100) if not 10 <= n < 30])
    both = Phase("rest", ((0, 20 * MS), (50 * MS, 200 * MS)))
    result = flow(log, TO_GUEST, both)
    assert result.sent == 10 + 75
    assert result.lost == 5
    assert result.longest_gap_ms == 10  # 50 ms to 60 ms, not 18 ms to 60 ms


def test_nothing_lost_to_client() -> None:
    result = flow(record(arrivals=[(0, 10), (1, 12), (2, 15)]), TO_CLIENT)
    assert (result.sent, result.lost, result.longest_gap_ms) == (3, 0, 0)
    assert result.longest_silence_ms == 3


def test_silence_to_client_is_not_loss() -> None:
    result = flow(record(arrivals=[(0, 10), (1, 12), (2, 900), (3, 902)]), TO_CLIENT)
    assert (result.lost, result.longest_gap_ms, result.longest_silence_ms) == (0, 0, 888)


def test_lost_to_client() -> None:
    log = record(arrivals=[(0, 10), (1, 12), (5, 20), (6, 300)], guest_sent=7)
    result = flow(log, TO_CLIENT)
    assert (result.sent, result.lost) == (7, 3)
    assert result.longest_gap_ms == 8
    assert result.longest_silence_ms == 280


def test_lost_to_client_at_the_end() -> None:
    log = record(sent=50, arrivals=[(0, 10), (1, 12)], guest_sent=4)
    result = flow(log, TO_CLIENT)
    assert (result.sent, result.lost) == (4, 2)
    assert result.longest_gap_ms == 98 - 12
    assert result.longest_silence_ms == 98 - 12


def test_lost_to_client_at_the_beginning() -> None:
    log = record(arrivals=[(2, 10), (3, 12)], guest_sent=4)
    assert flow(log, TO_CLIENT).lost == 2


def test_loss_to_client_is_placed_between_its_neighbours() -> None:
    # Nine lost frames between 10 ms and 110 ms: at 20, 30, ... 100 ms.
    log = record(arrivals=[(0, 10), (10, 110)], guest_sent=11)
    before = flow(log, TO_CLIENT, Phase("before", ((0, 50 * MS),)))
    after = flow(log, TO_CLIENT, Phase("after", ((50 * MS, 200 * MS),)))
    assert (before.lost, before.longest_gap_ms) == (3, 40)
    assert (after.lost, after.longest_gap_ms) == (6, 60)


def test_duplicated_to_client() -> None:
    result = flow(record(arrivals=[(0, 10), (1, 12), (1, 13), (2, 14)], guest_sent=3), TO_CLIENT)
    assert (result.sent, result.lost, result.duplicated) == (3, 0, 1)


def test_reordered_to_client_is_not_lost() -> None:
    result = flow(record(arrivals=[(0, 10), (2, 12), (1, 14), (3, 16)]), TO_CLIENT)
    assert (result.lost, result.duplicated, result.longest_gap_ms) == (0, 0, 0)


def test_nothing_at_all() -> None:
    for result in flows(record(), [ALL]):
        assert (result.sent, result.lost, result.longest_gap_ms) == (0, 0, 0)


def test_silence_of_guest() -> None:
    # Nothing is lost, but for 300 ms the guest gets nothing new; one late frame changes nothing.
    log = record(sent=10)
    log.arrivals = [
        Arrival(0, 10 * MS, received=1),
        Arrival(1, 12 * MS, received=2),
        Arrival(2, 100 * MS, received=2),
        Arrival(3, 200 * MS, received=1),
        Arrival(4, 312 * MS, received=10),
        Arrival(5, 320 * MS, received=10),
    ]
    log.guest_sent = 6
    result = flow(log, TO_GUEST)
    assert (result.lost, result.longest_gap_ms, result.longest_silence_ms) == (0, 2, 300)
    part = flow(log, TO_GUEST, Phase("part", ((200 * MS, 400 * MS),)))
    assert part.longest_silence_ms == 112


def test_stall() -> None:
    log = record()
    log.echoes = [(0, 3 * MS), (50 * MS, 400 * MS), (100 * MS, 401 * MS)]
    assert longest_stall_ms(log) == 350
    log.echoes.append((150 * MS, None))
    log.echoes.append((900 * MS, None))
    assert longest_stall_ms(log) == 750


def test_frames_under_way_are_lost_to_the_stop() -> None:
    log = record(100, [n for n in range(100) if not 45 <= n < 60])
    # Frame 49 was the last before the stop at 99 ms; 45, sent at 90 ms, the first of its run.
    assert stopped_us(log, 99 * MS) == 90 * MS


def test_a_loss_of_its_own_is_not_the_stop_s() -> None:
    log = record(100, [n for n in range(100) if n != 47 and not 50 <= n < 60])
    assert stopped_us(log, 99 * MS) == 99 * MS


def test_a_long_loss_is_not_the_stop_s() -> None:
    log = record(200, [n for n in range(200) if n < 20])
    assert stopped_us(log, 199 * MS) == 150 * MS
