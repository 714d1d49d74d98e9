# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a scenario with one contender: what the scenario does, and what came of it."""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import analysis, clock, phases, timeline
from .analysis import Arrival, Flow, Phase, Record
from .contenders import Contender, Outcome
from .errors import LabError
from .guest import Guest
from .lab import Lab
from .neighbours import Log, Neighbours
from .phases import Borders
from .probe import Traffic
from .probe.probe import PRIMARY, PRIMARY_CARRIER, STANDBY, STANDBY_CARRIER
from .qmp import Event

USES_VF = PRIMARY | PRIMARY_CARRIER
HAS_STANDBY = STANDBY | STANDBY_CARRIER
VF_SECONDS = 180
SETTLE_SECONDS = 2


@dataclass
class Migration:
    """A migration as it was seen; the events are on the clocks of their hosts."""

    source: str
    destination: str
    start_us: int
    stop: Event
    resume: Event
    vf_us: int | None
    """None: the guest lives on its standby."""
    total_ms: int
    downtime_ms: int
    outcome: Outcome


class Run:
    """What a scenario works with."""

    def __init__(
        self,
        scenario: str,
        lab: Lab,
        contender: Contender,
        neighbours: Neighbours | None = None,
        with_figures: bool = False,
    ) -> None:
        self._with_figures = with_figures
        self.scenario = scenario
        self.lab = lab
        self.contender = contender
        self.migrations: list[Migration] = []
        self.apart: list[Phase] = []
        """What was measured, and belongs to no migration that has ended well."""
        self._traffic: Traffic | None = None
        self._before: dict[str, clock.Reading] = {}
        self._after: dict[str, clock.Reading] = {}
        self._figures: dict[str, Any] | None = None
        self._notes: dict[str, str] = {}
        self._parts: dict[str, Any] = {}
        self.neighbours = neighbours
        """Who talks to the guest as well; may be set until the traffic starts."""
        self._neighbour_logs: list[Log] = []
        self._failures: list[str] = []

    def note(self, what: str, value: str) -> None:
        """Say what was measured, and put it into the report."""
        self._notes[what] = value
        self.lab.say(f"{what}: {value}")

    def add(self, name: str, part: Any) -> None:
        """Put something of the scenario's own into the report."""
        self._parts[name] = part

    def start_guest(self, host_name: str) -> Guest:
        """Start the guest in a host, and wait until it uses its VF, if it is to have one."""
        guest = self.contender.start_source(self.lab, self.lab.host(host_name))
        vf = " and uses its VF" if self.contender.has_vf else ""
        self.lab.say(f"guest runs in {host_name}{vf}")
        return guest

    def start_traffic(self, guest: Guest, spacing_us: int = 2000) -> Traffic:
        """Start the flows that the run is judged by."""
        self._before = {host.name: clock.read(host.mgmt) for host in self.lab.hosts}
        self._traffic = Traffic(guest.address, self.lab.directory / "traffic", spacing_us)
        self._traffic.start()
        self._traffic.wait_links("guest's links before the run", self._links(True), VF_SECONDS)
        if self.neighbours is not None:
            self.neighbours.start()
            self.observe()
        return self._traffic

    def migrate(
        self,
        guest: Guest,
        host_name: str,
        drive: Callable[[Guest, Guest], Outcome] | None = None,
        with_vf: bool = True,
    ) -> Guest:
        """Migrate the guest to that host and wait until it uses a VF there; the guest there.

        `drive` does what the contender's migrate() does by default. Without `with_vf`, the guest
        is to live on its standby there.
        """
        if self._traffic is None:
            raise LabError("a migration without traffic measures nothing")
        with_vf = with_vf and self.contender.has_vf
        host = self.lab.host(host_name)
        destination = self.contender.start_destination(self.lab, host)
        # Starting a QEMU disturbs the traffic of its own host: not this migration's fault.
        self._traffic.observe(SETTLE_SECONDS)
        start_us = clock.now_us()
        before = len(guest.qmp.events)
        if drive is not None:
            outcome = drive(guest, destination)
        else:
            outcome = self.contender.migrate(self.lab, guest, destination)
        resume = destination.qmp.wait_event("RESUME", VF_SECONDS)
        stop = guest.qmp.wait_event("STOP", 1, after=before)
        shown_us = self._traffic.wait_links(
            f"guest on its {'VF' if with_vf else 'standby'} in {host_name}",
            self._links(with_vf),
            VF_SECONDS,
            after_us=self._rough_us(host_name, resume),
        )
        vf_us = shown_us if with_vf else None
        total_ms, downtime_ms = destination.migration_ms(guest)
        self.migrations.append(
            Migration(
                guest.host.name,
                host_name,
                start_us,
                stop,
                resume,
                vf_us,
                total_ms,
                downtime_ms,
                outcome,
            )
        )
        self.lab.say(
            f"migrated {guest.host.name} to {host_name}: {total_ms} ms, "
            + (f"VF back {(vf_us - start_us) / 1000:.0f} ms after the start" if vf_us else "no VF")
        )
        self._traffic.observe(SETTLE_SECONDS)
        # While the source's QEMU is still there: what it should have let go it can still have.
        self.contender.verify(self.lab, guest, destination, with_vf)
        guest.quit()
        return destination

    def _links(self, with_vf: bool) -> int:
        """What the guest shows when it is as it should be."""
        if not self.contender.has_vf:
            return 0  # no pair, nothing to show
        return USES_VF if with_vf else HAS_STANDBY

    def wait_vf(self, what: str, after_us: int) -> int:
        """Wait until the guest, after that time, uses its VF; since when."""
        if self._traffic is None:
            raise LabError("without traffic nobody knows what the guest uses")
        return self._traffic.wait_links(what, USES_VF, VF_SECONDS, after_us)

    def observe(self) -> None:
        """Let the traffic flow undisturbed for a moment."""
        if self._traffic is not None:
            self._traffic.observe(SETTLE_SECONDS)

    def _rough_us(self, host_name: str, event: Event) -> int:
        """An event's time by the clock reading from before the run: exact to some milliseconds."""
        reading = self._before[host_name]
        return reading.client_us + event.host_us - reading.host_us

    def expect(self, what: str, condition: bool) -> None:
        """Fail the run unless the condition holds; `what` says what was expected."""
        if not condition:
            raise LabError(f"expected: {what}")

    def judge(self, what: str, condition: bool) -> None:
        """The same, of a figure: the run goes on, and its report has all figures."""
        if not condition:
            self._failures.append(f"expected: {what}")

    def finish(self) -> None:
        """Stop the traffic and collect what is to be known while the hosts still run.

        The contender's figures, which take half a minute, only if the run is made with them.
        """
        if self._traffic is None or self._after:
            return  # there is none, or it has ended
        self._after = {host.name: clock.read(host.mgmt) for host in self.lab.hosts}
        if self.neighbours is not None:
            self._neighbour_logs = self.neighbours.stop()
        self._traffic.stop()
        if self._with_figures:
            # Not before: what is measured for it takes the processor away from the guest.
            self._figures = self.contender.figures(self.lab)

    def abandon(self) -> None:
        """Save what can be saved after a failure."""
        if self._traffic is not None:
            self._traffic.kill()

    def report(self) -> dict[str, Any]:
        """The run's part of the report."""
        result = header(self.scenario, self.contender.name, self.lab.qemu.kind)
        result.update(self._parts)
        if self._notes:
            result["notes"] = self._notes
        if self._traffic is None:
            return {**result, "ok": True}
        record = load(self._traffic.directory)
        clocks = self._clocks()
        flows, total = self._flows(record, clocks)
        failures = list(self._failures)
        if not record.tcp_alive:
            failures.append("the TCP connection did not live through the run")
        result["ok"] = not failures
        if failures:
            result["error"] = "; ".join(failures)
        result["phases"] = total
        result["migrations"] = [
            {
                "from": migration.source,
                "to": migration.destination,
                "phases": [asdict(flow) for flow in own],
                "start_ms": (migration.start_us - record.sent[0]) / 1000,
                "total_ms": migration.total_ms,
                "downtime_ms": migration.downtime_ms,
                "stop_ms": _since(migration, clocks[migration.source], migration.stop),
                "resume_ms": _since(migration, clocks[migration.destination], migration.resume),
                "stopped_ms": _stopped_ms(migration, clocks),
                "vf_ms": migration.vf_us and (migration.vf_us - migration.start_us) / 1000,
                **_job(migration, clocks),
            }
            for migration, own in zip(self.migrations, flows)
        ]
        if self.migrations:
            result["migration"] = {
                name: max(migration[name] or 0 for migration in result["migrations"])
                for name in ("total_ms", "downtime_ms", "stopped_ms", "vf_ms")
            }
            if "job" in result["migrations"][0]:
                result["job"] = result["migrations"][0]["job"]
        result["tcp"] = {
            "alive": record.tcp_alive,
            "longest_stall_ms": analysis.longest_stall_ms(record),
        }
        result["skipped"] = {"client": record.skipped, "guest": record.guest_skipped}
        result["clock_uncertainty_ms"] = max(c.uncertainty_us for c in clocks.values()) / 1000
        if self._figures is not None:
            result["daemon"] = self._figures
        if self.neighbours is not None:
            result["neighbours"] = [
                {
                    "kind": log.kind,
                    "host": log.host,
                    "role": self._role(log.host),
                    "phases": self._flows(_neighbour_record(log), clocks)[1],
                }
                for log in self._neighbour_logs
            ]
            result["isolation"] = self.neighbours.isolation
        return result

    def _role(self, host_name: str) -> str:
        """What that host is in the first migration."""
        if not self.migrations:
            return "other"
        first = self.migrations[0]
        roles = {first.source: "source", first.destination: "destination"}
        return roles.get(host_name, "other")

    def _flows(
        self, record: Record, clocks: dict[str, clock.Clock]
    ) -> tuple[list[list[Flow]], list[dict[str, Any]]]:
        """Of a record: the flows of each migration, and of the run, as the report has them."""
        of_migrations = [_phases(migration, clocks, record) for migration in self.migrations]
        flows = [analysis.flows(record, own) for own in of_migrations]
        total = [flow for own in flows for flow in own]
        total = sum_flows(total + analysis.flows(record, self.apart))
        others = [[phase] for phase in self.apart]
        rest = phases.rest(of_migrations + others, (record.sent[0], record.sent[-1]))
        total += analysis.flows(record, [rest])
        return flows, [asdict(flow) for flow in total]

    def timeline(self) -> dict[str, Any] | None:
        """The only migration of the run, frame by frame; None if there was none, or several."""
        if self._traffic is None or len(self.migrations) != 1:
            return None
        record = load(self._traffic.directory)
        whole = _phases(self.migrations[0], self._clocks(), record)[-1]
        return timeline.of(record, whole.spans[0])

    def record(self) -> Record:
        """What was sent and received; after finish()."""
        if self._traffic is None:
            raise LabError("without traffic there is no record")
        return load(self._traffic.directory)

    def borders(self) -> list[tuple[Migration, list[Phase]]]:
        """Each migration with its phases, the last of which is the whole of it; after finish()."""
        record, clocks = self.record(), self._clocks()
        return [(migration, _phases(migration, clocks, record)) for migration in self.migrations]

    def _clocks(self) -> dict[str, clock.Clock]:
        return {
            name: clock.Clock(before, self._after[name]) for name, before in self._before.items()
        }


def header(scenario: str, contender: str, qemu: str) -> dict[str, Any]:
    """What a report says of a run in any case; `qemu` is the kind."""
    return {"scenario": scenario, "contender": contender, "qemu": qemu}


def _phases(
    migration: Migration, clocks: dict[str, clock.Clock], record: Record
) -> list[Phase]:
    stop_us = clocks[migration.source].client_us(migration.stop.host_us)
    resume_us = clocks[migration.destination].client_us(migration.resume.host_us)
    return phases.of_migration(
        Borders(
            migration.start_us,
            analysis.stopped_us(record, stop_us),
            resume_us,
            _returning_us(migration, clocks, record, resume_us),
            migration.vf_us or resume_us,
        )
    )


def _returning_us(
    migration: Migration, clocks: dict[str, clock.Clock], record: Record, resume_us: int
) -> int:
    """When the VF began to come back: said by the contender, else when the guest first shows it."""
    outcome = migration.outcome
    if outcome.returning_us is not None:
        return outcome.returning_us
    for step in outcome.job["steps"] if outcome.job else []:
        if step["name"] == outcome.returning_step and step.get("start-us"):
            return clocks[step["host"]].client_us(step["start-us"])
    shown = (a.us for a in record.arrivals if a.us >= resume_us and a.links & PRIMARY)
    return next(shown, resume_us)


def _since(migration: Migration, host: clock.Clock, event: Event) -> float:
    """When an event was, in milliseconds from the start of the migration."""
    return (host.client_us(event.host_us) - migration.start_us) / 1000


def _stopped_ms(migration: Migration, clocks: dict[str, clock.Clock]) -> float:
    """How long the guest did not run, which is more than what QEMU calls downtime."""
    resume_ms = _since(migration, clocks[migration.destination], migration.resume)
    return resume_ms - _since(migration, clocks[migration.source], migration.stop)


def _job(migration: Migration, clocks: dict[str, clock.Clock]) -> dict[str, Any]:
    """The job's steps, with times from the start of the migration on the client's clock."""
    job = migration.outcome.job
    if job is None:
        return {}
    steps = []
    for step in job["steps"]:
        if not step.get("start-us"):
            continue  # it was not begun
        started_us = clocks[step["host"]].client_us(step["start-us"])
        steps.append(
            {
                "name": step["name"],
                "host": step["host"],
                "start_ms": (started_us - migration.start_us) / 1000,
                "duration_ms": step["duration-us"] / 1000,
                "result": step["result"],
            }
        )
    return {"job": {"state": job["state"], "steps": steps}}


def sum_flows(flows: list[Flow]) -> list[Flow]:
    """The same phase and direction of several migrations as one: counts added, the longest gap."""
    merged: dict[tuple[str, str], Flow] = {}
    for flow in flows:
        key = (flow.name, flow.direction)
        other = merged.get(key)
        if other is None:
            merged[key] = flow
            continue
        merged[key] = Flow(
            flow.name,
            flow.direction,
            flow.sent + other.sent,
            flow.lost + other.lost,
            flow.duplicated + other.duplicated,
            max(flow.longest_gap_ms, other.longest_gap_ms),
            max(flow.longest_silence_ms, other.longest_silence_ms),
        )
    return list(merged.values())


def _summary(directory: Path) -> dict[str, str]:
    lines = (directory / "summary").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def load(directory: Path) -> Record:
    """What the probe's client wrote."""
    summary = _summary(directory)
    return Record(
        [int(row[1]) for row in _rows(directory / "sent.csv")],
        [int(row[0]) for row in _rows(directory / "delivered.csv")],
        [Arrival(*map(int, row)) for row in _rows(directory / "received.csv")],
        int(summary["guest_sent"]),
        [(int(row[0]), int(row[1]) if row[1] else None) for row in _rows(directory / "tcp.csv")],
        summary["tcp_alive"] == "1",
        int(summary["skipped"]),
        int(summary["guest_skipped"]),
    )


def _neighbour_record(log: Log) -> Record:
    """A neighbour's, on the client's clock."""
    summary = _summary(log.directory)
    epoch_us = int(summary["epoch_us"])

    def client_us(text: str) -> int:
        return log.clock.client_us(int(text) + epoch_us)

    return Record(
        [client_us(row[1]) for row in _rows(log.directory / "sent.csv")],
        log.delivered,
        [
            Arrival(int(row[0]), client_us(row[1]), int(row[2]), int(row[3]))
            for row in _rows(log.directory / "received.csv")
        ],
        log.guest_sent,
        skipped=int(summary["skipped"]),
    )


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))
