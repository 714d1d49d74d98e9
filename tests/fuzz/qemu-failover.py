#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzz a QEMU's failover pairs: random QMP commands and random acts of a guest, with checks.

Each round is one virtual machine (and the destinations that it migrates to), and depends on nothing
but its number and the seed: --seed S --round N runs it again alone.  After each step QEMU must be
alive and what it says of its pairs must agree with what it says of its devices and with what the
guest can see.  Build QEMU with --enable-asan --enable-ubsan; its reports end the run.
"""

import argparse
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "hw/net/virtio-net-failover.c"
TIMEOUT_MAX = 3600000
ANSWER = 60                     # seconds that any single answer may take
SETTLED = 15                    # seconds in which a machine left alone comes to rest
STANDBY_BIT = 1 << 62
VERSION_1 = 1 << 32
ACPI = 0xcc0
FIRMWARE = "/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu"
IN_GUEST = ("plugged", "active", "unplugging")


class Failure(Exception):
    """Something that a correct QEMU does not do."""


def transition_table():
    found = re.findall(r"\{ S\((\w+)\),\s+R\((\w+)\),\s+S\((\w+)\) \}", TABLE.read_text("utf-8"))
    if not found:
        raise SystemExit(f"{TABLE}: no transition table")
    return {tuple(word.lower().replace("_", "-") for word in row) for row in found}


class Line:
    """Lines over a unix socket; every wait is bounded."""

    def __init__(self, connection, alive):
        self.connection, self.alive, self.buffer = connection, alive, b""

    def send(self, line):
        try:
            self.connection.sendall(line.encode() + b"\n")
        except OSError as error:
            self.alive()
            raise Failure(f"cannot send: {error}") from error

    def receive(self, timeout=ANSWER):
        """The next line, or None when there is none in time."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.connection], [], [], left)[0]:
                return None
            try:
                data = self.connection.recv(65536)
            except OSError as error:
                self.alive()
                raise Failure(f"cannot receive: {error}") from error
            if not data:
                self.alive()
                raise Failure("the connection was closed")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()


class Machine:
    """One QEMU, its monitor and its guest."""

    def __init__(self, binary, directory, arguments, log):
        self.log, self.events, self.expected_last = log, [], {}
        self.counters = {}
        self.stderr = tempfile.NamedTemporaryFile("w+", dir=directory, prefix="stderr-",
                                                  delete=False)
        listeners = {}
        for name in "qmp", "qtest":
            path = os.path.join(directory, name)
            if os.path.exists(path):
                os.unlink(path)
            listeners[name] = socket.socket(socket.AF_UNIX)
            listeners[name].bind(path)
            listeners[name].listen(1)
            listeners[name].settimeout(ANSWER)
        command = [binary, "-display", "none", "-nodefaults", "-accel", "qtest",
                   "-qtest", f"unix:{directory}/qtest", "-qtest-log", "none",
                   "-qmp", f"unix:{directory}/qmp",
                   *(word for path in FIRMWARE for word in ("-L", path)), *arguments]
        log("  " + " ".join(command))
        environment = {**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1",
                       "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:" +
                                       os.environ.get("ASAN_OPTIONS", "")}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.stderr,
                                        stdout=self.stderr, env=environment)
        connections = {}
        for name, listener in listeners.items():
            deadline = time.monotonic() + ANSWER
            while not select.select([listener], [], [], 0.05)[0]:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.alive()
                    raise Failure("QEMU does not start")
            connections[name] = Line(listener.accept()[0], self.alive)
            listener.close()
        self.monitor, self.qtest = connections["qmp"], connections["qtest"]
        self.read_message()
        self.command("qmp_capabilities")

    def output(self):
        with open(self.stderr.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def alive(self):
        output = self.output()
        if "Sanitizer" in output or "runtime error" in output:
            raise Failure("sanitizer:\n" + output)
        if self.process.poll() is not None:
            raise Failure(f"QEMU has ended with {self.process.returncode}:\n" + output)

    def read_message(self, timeout=ANSWER):
        line = self.monitor.receive(timeout)
        return None if line is None else json.loads(line)

    def answer(self):
        while True:
            message = self.read_message()
            if message is None:
                self.alive()
                raise Failure("no answer from the monitor")
            if "event" not in message:
                return message
            self.event(message)

    def event(self, message):
        name, data = message["event"], message.get("data", {})
        self.log(f"    <- {name} {json.dumps(data)}")
        self.events.append((name, data))
        if name == "VIRTIO_NET_FAILOVER_STATE":
            row = (data["old-state"], data["reason"], data["new-state"])
            if row not in TRANSITIONS:
                raise Failure(f"not in the table: {row}")
            before = self.expected_last.get(data["standby"], data["old-state"])
            if before != data["old-state"] and data["old-state"] != "absent":
                raise Failure(f"{data} after {before}")
            self.expected_last[data["standby"]] = data["new-state"]

    def drain(self):
        while (message := self.read_message(0)) is not None:
            self.event(message)

    def command(self, name, /, **arguments):
        """The answer: a "return" or an "error"."""
        self.log(f"    {name} {json.dumps(arguments) if arguments else ''}")
        self.monitor.send(json.dumps({"execute": name, "arguments": arguments}))
        message = self.answer()
        if "error" in message:
            self.log(f"      {message['error']['class']}: {message['error']['desc']}")
        return message

    def value(self, name, /, **arguments):
        message = self.command(name, **arguments)
        if "error" in message:
            raise Failure(f"{name}: {message['error']}")
        return message["return"]

    def human(self, text):
        return self.command("human-monitor-command", **{"command-line": text})

    # qtest

    def io(self, text):
        self.qtest.send(text)
        while True:
            line = self.qtest.receive()
            if line is None:
                self.alive()
                raise Failure(f"no answer to {text}")
            if not line.startswith("IRQ"):
                break
        if not line.startswith("OK"):
            raise Failure(f"{text}: {line}")
        words = line.split()
        return int(words[1], 0) if len(words) > 1 else None

    def config_read(self, bus, devfn, offset, size="l"):
        self.io(f"outl 0xcf8 {0x80000000 | bus << 16 | devfn << 8 | offset & 0xfc:#x}")
        return self.io(f"in{size} {0xcfc + (offset & 3):#x}")

    def config_write(self, bus, devfn, offset, value, size="l"):
        self.io(f"outl 0xcf8 {0x80000000 | bus << 16 | devfn << 8 | offset & 0xfc:#x}")
        self.io(f"out{size} {0xcfc + (offset & 3):#x} {value:#x}")

    def capability(self, bus, devfn, wanted):
        """Offsets of the capabilities with this id."""
        found, offset = [], self.config_read(bus, devfn, 0x34, "b")
        while offset and offset != 0xff and len(found) < 16:
            if self.config_read(bus, devfn, offset, "b") == wanted:
                found.append(offset)
            offset = self.config_read(bus, devfn, offset + 1, "b")
        return found

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.stderr.close()


class Guest:
    """What a guest does, rightly and wrongly: one root port per slot, at 0:1.0, 0:2.0, ..."""

    def __init__(self, machine, slots, native):
        self.machine, self.slots, self.native = machine, slots, native

    def buses(self):
        for slot in range(1, self.slots + 1):
            self.machine.config_write(0, slot << 3, 0x18, slot << 16 | slot << 8, "l")

    def vendor(self, slot):
        self.buses()
        return self.machine.config_read(slot, 0, 0, "w")

    def virtio(self, slot):
        """Offsets of the structures of a virtio device, and its window; None if there is none."""
        m = self.machine
        self.buses()
        if m.config_read(slot, 0, 0, "l") not in (0x10001af4, 0x10411af4):
            return None
        common = window = None
        for offset in m.capability(slot, 0, 9):
            kind = m.config_read(slot, 0, offset + 3, "b")
            if kind == 1:
                common = (m.config_read(slot, 0, offset + 4, "b"),
                          m.config_read(slot, 0, offset + 8, "l"))
            elif kind == 5:
                window = offset
        return (common, window) if common and window else None

    def common_write(self, slot, where, field, value, size):
        (bar, base), window = where
        m = self.machine
        m.config_write(slot, 0, window + 4, bar, "b")
        m.config_write(slot, 0, window + 8, base + field, "l")
        m.config_write(slot, 0, window + 12, size, "l")
        m.config_write(slot, 0, window + 16, value, "b" if size == 1 else "l")

    def driver(self, slot, features):
        """Reset the driver and, with features, start it; False if there is no such device."""
        where = self.virtio(slot)
        if not where:
            return False
        command = self.machine.config_read(slot, 0, 4, "w")
        self.machine.config_write(slot, 0, 4, command | 6, "w")
        self.common_write(slot, where, 20, 0, 1)
        if features is None:
            return True
        self.common_write(slot, where, 20, 3, 1)
        for half in 0, 1:
            self.common_write(slot, where, 8, half, 4)
            self.common_write(slot, where, 12, features >> 32 * half & 0xffffffff, 4)
        self.common_write(slot, where, 20, 11, 1)
        self.common_write(slot, where, 20, 15, 1)
        return True

    def pci_command(self, slot, value):
        self.buses()
        self.machine.config_write(slot, 0, 4, value, "w")

    def slot_control(self, slot, value):
        self.buses()
        port = self.machine.capability(0, slot << 3, 0x10)[0]
        self.machine.config_write(0, slot << 3, port + 0x1a, 0x1f, "w")
        self.machine.config_write(0, slot << 3, port + 0x18, value, "w")

    def serve(self):
        """Answer all requests to release a device, and switch on the slots that have one."""
        m = self.machine
        self.buses()
        if self.native:
            for slot in range(1, self.slots + 1):
                port = m.capability(0, slot << 3, 0x10)[0]
                status = m.config_read(0, slot << 3, port + 0x1a, "w")
                control = m.config_read(0, slot << 3, port + 0x18, "w")
                off = control & 0x700 == 0x700
                if status & 0x40 and status & 1 and not off:
                    self.slot_control(slot, 0x7ff & ~0x300 | 0x200)
                    self.slot_control(slot, 0x7ff)
                elif status & 0x40 and off:
                    self.slot_control(slot, 0x1ff)
            return
        for bsel in range(self.slots + 2):
            m.io(f"outl {ACPI + 0x10:#x} {bsel:#x}")
            m.io(f"inl {ACPI:#x}")
            down = m.io(f"inl {ACPI + 4:#x}")
            for bit in range(32):
                if down >> bit & 1:
                    m.io(f"outl {ACPI + 8:#x} {1 << bit:#x}")

    def rogue(self, rng):
        """Eject, or switch off, what nobody has asked for."""
        if self.native:
            self.slot_control(rng.randint(1, self.slots), rng.choice((0x7ff, 0x7c0, 0x2c0, 0x1ff,
                                                                      rng.getrandbits(11))))
            return
        self.machine.io(f"outl {ACPI + 0x10:#x} {rng.randrange(self.slots + 2):#x}")
        self.machine.io(f"outl {ACPI + 8:#x} {rng.choice((1, 1, 2, 0xffffffff)):#x}")


class Round:
    """A machine's life."""

    def __init__(self, options, number, log):
        self.options, self.log = options, log
        self.rng = random.Random(f"{options.seed}:{number}")
        self.directory = tempfile.TemporaryDirectory(prefix="fuzz-failover-")
        self.steps, self.commands, self.machine, self.files = 0, 0, None, 0
        rng = self.rng
        self.native = rng.random() < 0.4
        self.pairs = rng.randint(1, 2)
        self.slots = 2 * self.pairs + 1
        self.base = ["-M", "q35", "-m", "32",
                     "-drive", f"if=none,id=disk,file={self.directory.name}/disk,format=qcow2",
                     "-device", "virtio-blk-pci,drive=disk,addr=0x1e"]
        self.base += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=" +
                      ("off" if self.native else "on")]
        for slot in range(1, self.slots + 1):
            self.base += ["-device", f"pcie-root-port,id=root{slot},addr={slot:#x},chassis={slot}"]
        self.base += ["-device", "pcie-pci-bridge,id=old,addr=0x1d"]
        self.standbys = {}      # id: options
        self.primaries = {}
        for pair in range(self.pairs):
            self.standbys[f"s{pair}"] = self.standby_options(pair)
            if rng.random() < 0.6:
                self.primaries[f"p{pair}"] = self.primary_options(pair)
        subprocess.run([options.qemu_img, "create", "-q", "-f", "qcow2",
                        f"{self.directory.name}/disk", "16M"], check=True) \
            if options.qemu_img else self.create_disk()
        self.start()

    def create_disk(self):
        """A qcow2 image, made by QEMU itself."""
        path = f"{self.directory.name}/disk"
        machine = Machine(self.options.qemu, self.directory.name, ["-M", "none"], lambda text: None)
        try:
            for number, create in enumerate((
                    {"driver": "file", "filename": path, "size": 0},
                    {"driver": "qcow2", "file": "node", "size": 1 << 24})):
                if number:
                    machine.value("blockdev-add", **{"driver": "file", "filename": path,
                                                     "node-name": "node"})
                machine.value("blockdev-create", **{"job-id": "job", "options": create})
                while True:
                    jobs = machine.value("query-jobs")
                    if jobs[0]["status"] == "concluded":
                        break
                    time.sleep(0.01)
                if jobs[0].get("error"):
                    raise Failure(str(jobs))
                machine.value("job-dismiss", id="job")
        finally:
            machine.close()

    def standby_options(self, pair):
        rng = self.rng
        options = {"driver": "virtio-net-pci", "id": f"s{pair}", "bus": f"root{2 * pair + 1}",
                   "failover": True, "mac": f"52:54:00:00:00:{pair:02x}"}
        if rng.random() < 0.6:
            options["failover-unplug-timeout"] = rng.choice((1, 5, 20, 100, 5000))
            if rng.random() < 0.5:
                options["failover-unplug-policy"] = "surprise"
        for name, values in (("failover-replug", ("auto", "auto", "manual")),
                             ("failover-release", (False, True)),
                             ("failover-prepare", (False, True)),
                             ("failover-require-standby", (True, True, False)),
                             ("failover-announce-rounds", (0, 1, 5)),
                             ("failover-announce-interval", (0, 1, 50))):
            if rng.random() < 0.5:
                options[name] = rng.choice(values)
        return options

    def primary_options(self, pair):
        options = {"driver": self.rng.choice(("virtio-net-pci", "e1000e", "vmxnet3")),
                   "id": f"p{pair}", "bus": f"root{2 * pair + 2}", "failover_pair_id": f"s{pair}",
                   "mac": f"52:54:00:00:00:{pair:02x}"}
        if self.rng.random() < 0.7:
            options["romfile"] = ""
        return options

    def start(self, incoming=None):
        if self.machine:
            self.finish()
        devices = list(self.standbys.values()) + list(self.primaries.values())
        self.rng.shuffle(devices)
        arguments = list(self.base)
        for device in devices:
            arguments += ["-device", json.dumps(device)]
        if incoming:
            arguments += ["-incoming", incoming]
        self.machine = Machine(self.options.qemu, self.directory.name, arguments, self.log)
        self.guest = Guest(self.machine, self.slots, self.native)

    # what QEMU says, against what there is

    def look(self):
        m = self.machine
        pairs = m.value("query-virtio-net-failover")
        devices = {item["name"] for item in m.value("qom-list", path="/machine/peripheral")
                   if item["type"].startswith("child<") and item["name"] != "type"}
        shown = set()

        def walk(items):
            for device in items:
                shown.add(device["qdev_id"])
                walk(device.get("pci_bridge", {}).get("devices", []))
        for bus in m.value("query-pci"):
            walk(bus["devices"])
        vendors = {}
        incoming = m.value("query-status")["status"] == "inmigrate"
        for pair in pairs:
            if pair.get("primary-path"):
                # Where the device is: the guest's view of a slot
                bus = next((options["bus"] for options in self.primaries.values()
                            if options["id"] == pair.get("primary")), "")
                slot = int(bus[4:]) if bus.startswith("root") else None
                if slot and not incoming:
                    vendors[pair["standby"]] = (self.guest.vendor(slot),
                                                m.config_read(slot, 0, 4, "w"))
        again = m.value("query-virtio-net-failover")
        m.drain()
        return pairs, devices, shown, vendors, again == pairs

    def check(self):
        """Two looks that agree are taken for one moment."""
        deadline = time.monotonic() + 5
        while True:
            pairs, devices, shown, vendors, still = self.look()
            if still:
                problem = self.problem(pairs, devices, shown, vendors)
                if not problem:
                    break
                if time.monotonic() > deadline:
                    raise Failure(problem)
                # Bus mastering is told a second later when it changes too often.
                time.sleep(0.05)
            elif time.monotonic() > deadline:
                raise Failure("the pairs do not come to rest")
        self.machine.alive()

    def problem(self, pairs, devices, shown, vendors):
        names = [pair["standby"] for pair in pairs]
        if len(set(names)) != len(names):
            return f"a standby twice: {names}"
        for pair in pairs:
            name, state = pair["standby"], pair["state"]
            primary, path = pair.get("primary"), pair.get("primary-path")
            history = pair["transitions"]
            said = self.machine.expected_last.get(name)
            if name not in devices:
                return f"{name}: a pair without a standby"
            if said is not None and said != state:
                return f"{name}: {state}, and the last event said {said}"
            if path and primary is None:
                continue        # A device without an id that was there before its standby
            if (state == "absent") != (primary is None):
                return f"{name}: {state} with primary {primary}"
            if path and path.rsplit("/", 1)[1] not in devices:
                return f"{name}: no device at {path}"
            if bool(path) and state in ("absent", "hidden", "released", "failed"):
                return f"{name}: {state} with a device at {path}"
            if not path and state in ("prepared", *IN_GUEST):
                return f"{name}: {state} without a device"
            if not path and primary in devices and self.machine.command(
                    "qom-get", path=f"/machine/peripheral/{primary}",
                    property="failover_pair_id").get("return") == name:
                return f"{name}: device {primary} exists, and the pair is {state}"
            if path and primary not in shown:
                return f"{name}: {primary} is not in query-pci"
            if history and history[-1]["new-state"] != state:
                return f"{name}: {state} after {history[-1]}"
            for old, new in zip(history, history[1:]):
                if old["new-state"] != new["old-state"] or old["time-us"] > new["time-us"]:
                    return f"{name}: {new} after {old}"
            for entry in history:
                if (entry["old-state"], entry["reason"], entry["new-state"]) not in TRANSITIONS:
                    return f"{name}: not in the table: {entry}"
            counters = tuple(pair[key] for key in ("plugs", "unplugs", "timeouts", "errors"))
            if any(map(int.__lt__, counters, self.machine.counters.get(name, (0,) * 4))):
                return f"{name}: counters go back, {counters}"
            self.machine.counters[name] = counters
            if name in vendors:
                vendor, command = vendors[name]
                visible = vendor != 0xffff
                if visible != (state in IN_GUEST) and not (self.native and not visible):
                    return f"{name}: {state}, and the guest reads vendor id {vendor:#x}"
                if visible and state in ("plugged", "active") and \
                   bool(command & 4) != (state == "active"):
                    return f"{name}: {state}, and PCI_COMMAND is {command:#x}"
        return None

    # steps

    def standby(self):
        return self.rng.choice((*self.standbys, *self.standbys, *self.standbys, "p0", "disk", "",
                                "nobody"))

    def step_unplug(self):
        arguments = {"standby": self.standby()}
        if self.rng.random() < 0.7:
            arguments["timeout"] = self.rng.choice((0, 1, 5, 30, 300, TIMEOUT_MAX, TIMEOUT_MAX + 1,
                                                    -1, 1 << 32, "5"))
        if self.rng.random() < 0.6:
            arguments["policy"] = self.rng.choice(("abort", "surprise", "surprise", "none", 3))
        if self.rng.random() < 0.5:
            arguments["release"] = self.rng.choice((True, False))
        self.named(self.machine.command("virtio-net-failover-unplug", **arguments), arguments)

    def step_replug(self):
        arguments = {"standby": self.standby()}
        self.named(self.machine.command("virtio-net-failover-replug", **arguments), arguments)

    def named(self, message, arguments):
        """The class of an answer to one of our commands."""
        kind = message.get("error", {}).get("class")
        known = any(pair["standby"] == arguments["standby"]
                    for pair in self.machine.value("query-virtio-net-failover"))
        if kind not in (None, "GenericError", "DeviceNotFound"):
            raise Failure(f"{arguments}: {message}")
        if known and kind == "DeviceNotFound" or not known and kind is None:
            raise Failure(f"{arguments}: {message}")
        if "timeout" in arguments and arguments["timeout"] not in range(TIMEOUT_MAX + 1) and \
           kind is None:
            raise Failure(f"{arguments}: {message}")

    def step_query(self):
        self.machine.human("info virtio-net-failover")
        self.machine.command("query-migrate")

    def pair_slots(self):
        pair = self.rng.randrange(self.pairs)
        return 2 * pair + 1, 2 * pair + 2

    def step_negotiate(self):
        self.guest.driver(self.pair_slots()[0], STANDBY_BIT | VERSION_1)

    def step_negotiate_without(self):
        self.guest.driver(self.pair_slots()[0], VERSION_1)

    def step_reset_driver(self):
        self.guest.driver(self.pair_slots()[0], None)

    def step_pci_command(self):
        slot = self.pair_slots()[1]
        for _ in range(self.rng.choice((1, 1, 1, 4, 60))):
            self.guest.pci_command(slot, self.rng.choice((0, 2, 4, 6, 7, 0x407, 0xffff)))

    def step_serve(self):
        self.guest.serve()

    def step_rogue(self):
        self.guest.rogue(self.rng)

    def add(self, options):
        message = self.machine.command("device_add", **options)
        return "error" not in message

    def step_add_primary(self):
        pair, other = self.rng.randrange(self.pairs), self.rng.randrange(self.pairs)
        options = self.primary_options(pair)
        dice = self.rng.random()
        if dice < 0.05:
            options["driver"] = "igb"       # of several functions, and so refused
        elif dice < 0.1:
            options["bus"] = self.rng.choice(("pcie.0", "old", "nowhere", "root1"))
        elif dice < 0.2:
            del options["id"]
        elif dice < 0.3:
            options["id"] = f"q{pair}"
        elif dice < 0.4:
            options["failover_pair_id"] = self.rng.choice((f"s{other}", "nobody", "disk"))
        elif dice < 0.5:
            options["nonsense"] = 1
        elif dice < 0.6:
            options["bus"] = f"root{self.slots}"
        elif dice < 0.65:
            options["netdev"] = "nowhere"
        if self.add(options) and "id" in options:
            self.primaries[options["id"]] = options

    def step_add_standby(self):
        options = self.standby_options(self.rng.randrange(self.pairs))
        if self.rng.random() < 0.3:
            options[self.rng.choice(("failover-unplug-timeout", "failover-announce-rounds",
                                     "failover-announce-interval"))] = \
                self.rng.choice((-1, TIMEOUT_MAX + 1, 1 << 32))
        if self.add(options):
            self.standbys[options["id"]] = options
            self.machine.expected_last.pop(options["id"], None)
            self.machine.counters.pop(options["id"], None)

    def step_delete(self):
        name = self.rng.choice((*self.primaries, "p0", "nobody",
                                "/machine/peripheral/p0",
                                self.rng.choice(tuple(self.standbys) or ("s0",))))
        self.machine.command("device_del", id=name)

    def step_migrate(self):
        rng = self.rng
        # With a return path, and so with post-copy, stock QEMU waits for ever for a pipe's answer.
        capabilities = {name: rng.random() < 0.2 for name in (
            "multifd", "background-snapshot", "events", "pause-before-switchover")}
        # Stock QEMU aborts if there is nothing to stop.
        capabilities["background-snapshot"] &= \
            self.machine.value("query-status")["status"] == "running"
        self.machine.command("migrate-set-capabilities", capabilities=[
            {"capability": name, "state": state} for name, state in capabilities.items()])
        self.files += 1
        uri = rng.choice((f"file:{self.directory.name}/out", f"file:{self.directory.name}/out",
                          "exec:cat >/dev/null", "exec:false", "exec:sleep 1",
                          f"unix:{self.directory.name}/nobody", "file:/nonexistent/x", "bad:"))
        self.machine.command("migrate", uri=uri)

    def step_migrate_continue(self):
        self.machine.command("migrate-continue", state="pre-switchover")

    def step_cancel(self):
        self.machine.command("migrate_cancel")

    def step_stop(self):
        self.machine.command("stop")

    def step_cont(self):
        self.machine.command("cont")

    def step_reset(self):
        self.machine.command("system_reset")

    def step_snapshot(self):
        # Stock QEMU aborts in a loadvm while it migrates, and if one of the capabilities is on.
        if self.migrating():
            return
        self.machine.command("migrate-set-capabilities", capabilities=[
            {"capability": name, "state": False} for name in ("multifd", "background-snapshot")])
        self.machine.human(self.rng.choice(("savevm a", "savevm a", "loadvm a", "delvm a")))
        if self.machine.value("query-status")["status"] == "restore-vm":
            self.machine.command("cont")

    def step_announce(self):
        self.machine.command("announce-self", initial=1, max=5, rounds=2, step=1)
        self.machine.command("set_link", name=self.rng.choice(("s0", "p0")), up=True)

    def step_wait(self):
        time.sleep(self.rng.choice((0, 0.002, 0.01, 0.03, 0.1)))

    STEPS = {
        step_unplug: 8, step_replug: 6, step_query: 1, step_negotiate: 10,
        step_negotiate_without: 2, step_reset_driver: 4, step_pci_command: 5, step_serve: 14,
        step_rogue: 2, step_add_primary: 6, step_add_standby: 3, step_delete: 6, step_migrate: 8,
        step_migrate_continue: 3, step_cancel: 4, step_stop: 2, step_cont: 5, step_reset: 3,
        step_snapshot: 3, step_announce: 1, step_wait: 6,
    }

    def run(self):
        functions, weights = list(self.STEPS), list(self.STEPS.values())
        for number in range(self.options.steps):
            step = self.rng.choices(functions, weights)[0]
            self.log(f"  step {number}: {step.__name__[5:]}")
            step(self)
            self.check()
            self.steps += 1
        self.settle()
        if self.rng.random() < 0.4:
            self.handover()
        self.removal()
        self.finish()

    def until(self, what, act, test):
        deadline = time.monotonic() + SETTLED
        while not test():
            if time.monotonic() > deadline:
                raise Failure(f"{what}: {self.machine.value('query-virtio-net-failover')}")
            act()
            self.machine.drain()
            time.sleep(0.02)

    def migrating(self):
        status = self.machine.value("query-migrate").get("status", "none")
        return status not in ("none", "completed", "failed", "cancelled")

    def settle(self):
        """With a guest that behaves, every primary comes back that nobody has sent away."""
        self.log("  settle")
        self.machine.command("migrate_cancel")
        self.until("migration does not end", self.guest.serve, lambda: not self.migrating())
        self.machine.command("cont")
        present = [item["name"] for item in self.machine.value("qom-list",
                                                               path="/machine/peripheral")]
        for pair in range(self.pairs):
            if f"s{pair}" in present:
                self.guest.driver(2 * pair + 1, STANDBY_BIT | VERSION_1)

        def unplugging():
            return any(pair["state"] == "unplugging" for pair in
                       self.machine.value("query-virtio-net-failover"))
        self.until("an unplug does not end", self.guest.serve, lambda: not unplugging())
        self.check()
        for pair in self.machine.value("query-virtio-net-failover"):
            if pair["state"] in ("absent", *IN_GUEST) or not pair["negotiated"]:
                continue
            message = self.machine.command("virtio-net-failover-replug", standby=pair["standby"])
            if "error" in message and not pair["state"] == "failed" and \
               not self.known_plug_failure(message["error"]["desc"]):
                raise Failure(f"{pair['standby']} cannot be replugged: {message}")
        self.check()

    @staticmethod
    def known_plug_failure(text):
        """Another device has the slot, the guest has switched it off, or the options are bad."""
        return any(part in text for part in ("in use", "not available", "guest is busy",
                                             "being plugged already", "not found",
                                             "powered", "hotplugging", "has the primary",
                                             "can't find value", "Duplicate", "own PCI slot",
                                             "occupied"))

    def handover(self):
        """To a second QEMU, which is this round's machine from here on."""
        self.log("  handover")
        pairs = self.machine.value("query-virtio-net-failover")
        if any(pair["state"] == "failed" for pair in pairs) or \
           any("romfile" not in options for options in self.primaries.values()):
            return              # The destination would not know the memory of its ROM.
        self.sync_devices()
        if self.machine.value("query-status")["status"] != "running":
            return
        for name in ("multifd", "background-snapshot", "pause-before-switchover"):
            self.machine.command("migrate-set-capabilities", capabilities=[
                {"capability": name, "state": False}])
        path = f"{self.directory.name}/handover"
        if "error" in self.machine.command("migrate", uri=f"file:{path}"):
            return
        self.until("migration does not end", self.guest.serve, lambda: not self.migrating())
        if self.machine.value("query-migrate").get("status") != "completed":
            return
        self.start(f"file:{path}")
        self.check()
        self.until("the destination does not run", lambda: None,
                   lambda: self.machine.value("query-status")["status"] != "inmigrate")
        self.check()
        self.machine.command("cont")
        self.settle()

    def sync_devices(self):
        """What a destination's command line has to name."""
        present = {item["name"] for item in self.machine.value("qom-list",
                                                               path="/machine/peripheral")}
        pairs = self.machine.value("query-virtio-net-failover")
        self.standbys = {name: o for name, o in self.standbys.items() if name in present}
        wanted = present | {pair.get("primary") for pair in pairs}
        self.primaries = {name: o for name, o in self.primaries.items() if name in wanted}

    def removal(self):
        """device_del of a primary frees its id, whatever happened before."""
        self.log("  removal")
        for pair in self.machine.value("query-virtio-net-failover"):
            primary = pair.get("primary")
            if not primary:
                continue
            message = self.machine.command("device_del", id=primary)
            if "error" in message and primary not in [
                    item.get("primary") for item in
                    self.machine.value("query-virtio-net-failover")]:
                continue        # An earlier request to delete it was answered meanwhile.
            if "error" in message and "already in the process" not in message["error"]["desc"] \
               and "busy" not in message["error"]["desc"]:
                raise Failure(f"device_del {primary}: {message}")

            def gone(name=primary):
                return all(item["name"] != name for item in
                           self.machine.value("qom-list", path="/machine/peripheral")) and \
                    all(item.get("primary") != name for item in
                        self.machine.value("query-virtio-net-failover"))

            def act(name=primary):
                self.guest.serve()
                # A request that a loadvm has undone is good for 5 seconds of the guest's time.
                self.machine.io("clock_step 6000000000")
                self.machine.command("device_del", id=name)
            self.until(f"{primary} is not deleted", act, gone)
            self.until(f"no DEVICE_DELETED for {primary}", lambda: None, lambda name=primary: any(
                event == "DEVICE_DELETED" and data.get("device") == name
                for event, data in self.machine.events))
        self.check()

    def finish(self):
        """QEMU ends when it is asked to, in any state."""
        machine = self.machine
        self.machine.drain()
        machine.monitor.send('{"execute": "quit"}')
        try:
            machine.process.wait(ANSWER)
        except subprocess.TimeoutExpired:
            raise Failure("QEMU does not quit") from None
        output = machine.output()
        if machine.process.returncode or "Sanitizer" in output or "runtime error" in output:
            raise Failure(f"QEMU has ended with {machine.process.returncode}:\n" + output)

    def close(self):
        if self.machine:
            self.machine.close()
        self.directory.cleanup()


def run_round(options, number):
    """(steps, None), or (steps, what went wrong)."""
    lines = []

    def log(text):
        lines.append(f"{time.monotonic():.3f} {text}")
        if options.verbose:
            print(text, flush=True)
    this, failure = None, None
    try:
        this = Round(options, number, log)
        this.run()
    except Failure as error:
        failure = str(error)
    finally:
        steps = this.steps if this else 0
        if this:
            if failure and this.machine:
                failure += "\n" + this.machine.output()[-4000:]
            this.close()
    if failure and not options.verbose:
        print("\n".join(lines[-options.tail:]))
    return steps, failure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("qemu", help="qemu-system-x86_64 with the failover patches")
    parser.add_argument("--qemu-img", help="qemu-img (default: QEMU itself makes the disk)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60, help="random steps in a round")
    parser.add_argument("--rounds", type=int, help="how many rounds (default: as time allows)")
    parser.add_argument("--round", type=int, help="run this one alone")
    parser.add_argument("--seconds", type=int, default=60, help="start no round after this time")
    parser.add_argument("--keep-going", action="store_true", help="after a failure, too")
    parser.add_argument("--tail", type=int, default=60, help="lines shown of a round that fails")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    start, number, steps, failures = time.monotonic(), options.round or 0, 0, 0
    while True:
        done, failure = run_round(options, number)
        steps += done
        if failure:
            failures += 1
            print(f"FAILED: --seed {options.seed} --steps {options.steps} --round {number}: "
                  f"{failure}", flush=True)
        number += 1
        if failure and not options.keep_going or options.round is not None or \
           number == options.rounds or time.monotonic() - start > options.seconds:
            break
    print(f"{number - (options.round or 0)} rounds, {steps} steps, {failures} failures, "
          f"{time.monotonic() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    TRANSITIONS = transition_table()
    sys.exit(main())
