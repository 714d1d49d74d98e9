# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a run that has failed."""

from pathlib import Path

from lab import runs

CONSOLE = """lab: guest up, master eth0
[    9.871234] traps: PANIC: double fault, error_code: 0x0
[    9.871240] double fault: 0000 [#1] PREEMPT SMP NOPTI
[    9.871250] CPU: 0 PID: 101 Comm: vflab-probe Not tainted 6.1.0-56-amd64
[    9.871260] RIP: 0010:entry_SYSCALL_64+0x0/0x29
[    9.871270] Kernel panic - not syncing: Fatal exception in interrupt
"""


def test_panic(tmp_path: Path) -> None:
    for host, text in (("hosta", CONSOLE), ("hostb", "lab: guest up\nRIP: 0010:foo+0x1/0x2\n")):
        (tmp_path / host).mkdir()
        (tmp_path / host / "guest-1-console.log").write_text(text)
    wanted = "hosta/guest-1-console.log: double fault at RIP: 0010:entry_SYSCALL_64+0x0/0x29"
    assert runs.panics(tmp_path) == [wanted]
    assert runs.last_lines(tmp_path).splitlines()[0] == wanted
