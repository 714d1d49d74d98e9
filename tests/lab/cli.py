# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of scripts/lab."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import isolation, paths, qemus, remote, report, runs, scenarios, setup
from .contenders import ALL
from .errors import LabError
from .lab import HOST_MEMORY_MB, Lab
from .run import Run, header

ERROR_SHOWN = 2000
"""Characters of the reason why a scenario failed."""


def main() -> int:
    arguments = _parser().parse_args()
    return arguments.function(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/lab",
        description="Two emulated hosts with SR-IOV, a guest that migrates between them, and its "
        "traffic measured.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="list the scenarios")
    command.add_argument("--tests", action="store_true", help="names of those in scripts/test")
    command.set_defaults(function=_list)

    command = commands.add_parser("run", help="run scenarios")
    command.add_argument(
        "scenario",
        nargs="+",
        type=scenarios.chosen,
        metavar="SCENARIO",
        help="its name, or a pattern: 'libvirt-*'",
    )
    command.add_argument("--contender", choices=sorted(ALL), help="what migrates the guest")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE")
    command.add_argument(
        "--brief",
        action="store_true",
        help="without the daemon's own time, which takes half a minute to measure",
    )
    command.add_argument("--quiet", action="store_true", help="no figures; failures still show")
    command.set_defaults(function=_run)

    command = commands.add_parser("shell", help="bring hosts and guest up, until Ctrl-C")
    command.add_argument("--contender", choices=sorted(ALL), default="vfailover")
    command.set_defaults(function=_shell)

    command = commands.add_parser("sh", help="run a command (or a shell) in a host of a lab")
    command.add_argument("host")
    command.add_argument("command", nargs=argparse.REMAINDER)
    command.set_defaults(function=_sh)

    command = commands.add_parser("table", help="print a report that was written with --json")
    command.add_argument("file", type=Path)
    command.add_argument("--timeline", action="store_true", help="with the steps of each job")
    command.set_defaults(function=_table)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    for name in scenarios.names():
        scenario = scenarios.load(name)
        if not arguments.tests:
            print(f"{name:<26} {scenario.DESCRIPTION}")
        elif scenarios.is_test(name):
            print(name)
    return 0


def _table(arguments: argparse.Namespace) -> int:
    try:
        found = json.loads(arguments.file.read_text(encoding="utf-8"))
        for run in found["runs"] if arguments.timeline else []:
            if run.get("job"):
                print(f"{run['scenario']}, the first migration:\n{report.timeline(run)}\n")
        print(report.table(found))
    except (OSError, ValueError) as error:
        print(f"lab: {arguments.file}: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: argparse.Namespace) -> int:
    names = [name for chosen in arguments.scenario for name in chosen]
    for name in names:
        if arguments.contender not in (None, *scenarios.load(name).CONTENDERS):
            print(f"lab: {name} does not run with {arguments.contender}", file=sys.stderr)
            return 2
    if not setup.ready():
        return 1
    results: list[dict[str, Any]] = []
    for name in names:
        contender = arguments.contender or scenarios.load(name).CONTENDERS[0]
        directory = runs.new(name)
        print(f"== {name} with {contender}: {directory}", flush=True)
        code = isolation.run(lambda: _one(name, contender, directory, not arguments.brief))
        result_file = directory / "report.json"
        if code == 130:
            return 130
        if result_file.exists():
            result = json.loads(result_file.read_text())
        else:
            result = {
                **header(name, contender, _kind(name)),
                "ok": False,
                "error": f"the lab ended ({code})",
            }
        results.append(result)
        if not (arguments.quiet and result["ok"]):
            print(report.table({"runs": [result]}), flush=True)
        if not result["ok"]:
            print(runs.last_lines(directory), file=sys.stderr)
            # Last, and of bounded length: of a log that is too long the end is what is read.
            print(f"lab: all logs: {directory}", file=sys.stderr)
            print(f"lab: {name} failed: {result['error'][:ERROR_SHOWN]}", file=sys.stderr)
        if arguments.json:
            arguments.json.write_text(json.dumps({"runs": results}, indent=1) + "\n")
    return 0 if all(result["ok"] for result in results) else 1


def _kind(name: str) -> str:
    """Which QEMU a scenario's guests run on."""
    return qemus.PATCHED if getattr(scenarios.load(name), "PATCHED", False) else qemus.usual().kind


def _one(name: str, contender_name: str, directory: Path, with_figures: bool) -> int:
    """Run one scenario and leave its report in the directory."""
    scenario = scenarios.load(name)
    contender = ALL[contender_name]()
    started = time.monotonic()
    try:
        contender.check()
        settings = {
            "qemu": qemus.patched() if _kind(name) == qemus.PATCHED else qemus.stock(),
            "vfs": getattr(scenario, "VFS", 4),
            "pfs": getattr(scenario, "PFS", 1),
            "memory_mb": max(
                contender.memory_mb, getattr(scenario, "HOST_MEMORY_MB", HOST_MEMORY_MB)
            ),
            "layer": contender.layer(),
            "programs": getattr(scenario, "PROGRAMS", ()),
        }
        with Lab(directory, **settings) as lab:
            lab.say("hosts are up")
            test = Run(name, lab, contender, with_figures=with_figures)
            try:
                contender.prepare(lab)
                scenario.run(test)
                test.finish()
            finally:
                test.abandon()
            result = test.report()
    except (LabError, OSError, subprocess.SubprocessError) as error:
        result = {**header(name, contender_name, _kind(name)), "ok": False, "error": str(error)}
    result["seconds"] = round(time.monotonic() - started, 1)
    result["logs"] = str(directory)
    (directory / "report.json").write_text(json.dumps(result, indent=1))
    return 0


def _shell(arguments: argparse.Namespace) -> int:
    if not setup.ready():
        return 1
    directory = runs.new("shell")
    return isolation.run(lambda: _stay(arguments.contender, directory))


def _stay(contender_name: str, directory: Path) -> int:
    contender = ALL[contender_name]()
    try:
        contender.check()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    with Lab(directory, memory_mb=contender.memory_mb, layer=contender.layer()) as lab:
        lab.say("hosts are up")
        contender.prepare(lab)
        guest = Run("shell", lab, contender).start_guest("hosta")
        # The daemon's and the user's, from here on.
        guest.qmp.close()
        print(
            f"\nlogs, consoles:      {directory}\n"
            "a host:              scripts/lab sh hosta [COMMAND...]\n"
            "the network:         scripts/lab sh lab [COMMAND...]   (client and switch)\n"
            f"the guest's address: {guest.address}, from the lab's network\n"
            f"the guest's monitor: tcp {guest.host.mgmt}:{guest.lab_qmp_port}, from there too\n"
            f"the daemon:          scripts/lab sh hosta {paths.COMMAND} list\n"
            "Ctrl-C ends it all.",
            flush=True,
        )
        signal.pause()
    return 0


def _sh(arguments: argparse.Namespace) -> int:
    live = runs.newest_live()
    if live is None:
        print("lab: no lab is running (start one with scripts/lab shell)", file=sys.stderr)
        return 1
    if arguments.host != "lab" and arguments.host not in live["hosts"]:
        print(f"lab: no host {arguments.host}", file=sys.stderr)
        return 2
    remote.enter(live["pid"])
    if arguments.host == "lab":
        shell = arguments.command or ["/bin/bash"]
        os.execvp(shell[0], shell)
    return remote.shell(live["hosts"][arguments.host], arguments.command)
