# SPDX-License-Identifier: GPL-2.0-or-later
"""Building the probe, and running its client."""

import hashlib
import os
import subprocess
import threading
import time
from pathlib import Path

from .. import clock, paths, process
from ..errors import DeadlineError, LabError

NAME = "vflab-probe"

# A new interface of igbvf shows a carrier for a moment before it has looked for one.
STABLE_US = 500_000

STOP_SECONDS = 90
SOURCES = Path(__file__).resolve().parent

STANDBY, STANDBY_CARRIER, PRIMARY, PRIMARY_CARRIER = 1, 2, 4, 8
"""The flags with which the guest describes its links."""


def program() -> Path:
    """The probe's program: of the build directory if that is up to date, else built here.

    The cache may be shared by several versions of the sources.
    """
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])
    newest = max(source.stat().st_mtime for source in sources)
    built = paths.BUILD / "tests" / "lab" / "probe" / NAME
    if built.exists() and built.stat().st_mtime >= newest:
        return built
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    own = paths.CACHE / f"{NAME}-{digest[:16]}"
    if own.exists():
        return own
    temporary = own.with_suffix(f".{os.readlink('/proc/self')}")
    command = ["cc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-static", "-o"]
    command += [str(temporary), *(str(source) for source in sources if source.suffix == ".c")]
    subprocess.run(command, check=True)
    temporary.rename(own)
    return own


def shown_since(changes: list[tuple[int, int]], flags: int, after_us: int) -> int | None:
    """Since when all these flags have been shown, up to now; None if they are not.

    `changes` are times and the flags from then on. What was before `after_us` does not count.
    """
    since: int | None = None
    for us, shown in changes:
        if shown & flags != flags:
            since = None
        elif since is None:
            since = us
    return None if since is None else max(since, after_us)


class Traffic:
    """Frames both ways between the client and a guest, from start() to stop()."""

    def __init__(self, guest_address: str, directory: Path, spacing_us: int = 2000) -> None:
        self.directory = directory
        self._argv = [str(program()), "client", guest_address, str(spacing_us), str(directory)]
        self._changed = threading.Condition()
        self._started = False
        self._links: list[tuple[int, int]] = []
        self._ended = False
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and wait until frames come from the guest."""
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "client.log"
        self._process = process.spawn(self._argv, log, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._started or self._ended, 30)
        if not self._started:
            self.kill()
            raise LabError(f"no traffic from the guest within 30 s: {log.read_text().strip()}")

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            word, *values = line.split()
            with self._changed:
                if word == "started":
                    self._started = True
                else:
                    self._links.append((int(values[0]), int(values[1])))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_links(self, what: str, flags: int, seconds: float, after_us: int = 0) -> int:
        """Wait until, after that time, the guest shows all these flags and goes on doing so.

        Returns when the first such frame came, in microseconds.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._ended and (left := deadline - time.monotonic()) > 0:
                found = shown_since(self._links, flags, after_us)
                if found is None:
                    self._changed.wait(left)
                    continue
                lasted = clock.now_us() - found
                if lasted >= STABLE_US:
                    return found
                self._changed.wait((STABLE_US - lasted) / 1_000_000)
        raise DeadlineError(f"{what}: not within {seconds:g} s")

    def observe(self, seconds: float) -> None:
        """Let the traffic flow for that long, undisturbed: the run's baseline."""
        with self._changed:
            if self._changed.wait_for(lambda: self._ended, seconds):
                raise LabError(f"the traffic ended early, see {self.directory}/client.log")

    def stop(self) -> None:
        """Stop both senders and fetch what the guest recorded."""
        assert self._process is not None
        if process.stop(self._process, STOP_SECONDS) != 0:
            log = (self.directory / "client.log").read_text().strip()
            raise LabError(f"the traffic's record is not complete: {log}")

    def kill(self) -> None:
        """Give it up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
