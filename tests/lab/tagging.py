# SPDX-License-Identifier: GPL-2.0-or-later
"""The client in a VLAN, on a machine whose kernel knows no VLANs: two programs of the kernel's (BPF)
tag what leaves the client and take the tag off what comes to it. All else that comes is dropped."""

import ctypes
import os
import struct
import subprocess
import tempfile

from . import fabric
from .process import unshare

_BPF = 321  # the system call, x86_64
_PROG_LOAD, _OBJ_PIN = 5, 6
_SCHED_CLS = 3
_SKB_VLAN_PUSH, _SKB_VLAN_POP = 18, 19
_SKB_VLAN_TCI = 24  # in struct __sk_buff
_TAG_PROTOCOL = 0x0081  # 0x8100 as it stands in memory
_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, to: int = 0, of: int = 0, jump: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, to | of << 4, jump, value)


_OK = _instruction(0xB7) + _instruction(0x95)  # return TC_ACT_OK
_DROP = _instruction(0xB7, value=2) + _instruction(0x95)  # return TC_ACT_SHOT


def _push(vlan: int) -> bytes:
    arguments = _instruction(0xB7, 2, value=_TAG_PROTOCOL) + _instruction(0xB7, 3, value=vlan)
    return arguments + _instruction(0x85, value=_SKB_VLAN_PUSH) + _OK


def _pop(vlan: int) -> bytes:
    load = _instruction(0x61, 2, 1, _SKB_VLAN_TCI) + _instruction(0x57, 2, value=0xFFF)
    unless = _instruction(0x15, 2, jump=len(_DROP) // 8, value=vlan)
    return load + unless + _DROP + _instruction(0x85, value=_SKB_VLAN_POP) + _OK


def _call(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = _libc.syscall(_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def _load(program: bytes) -> int:
    text = ctypes.create_string_buffer(program, len(program))
    license_text = ctypes.create_string_buffer(b"GPL")
    return _call(
        _PROG_LOAD,
        struct.pack(
            "<IIQQ",
            _SCHED_CLS,
            len(program) // 8,
            ctypes.addressof(text),
            ctypes.addressof(license_text),
        ),
    )


def _attach(vlan: int, directory: str) -> None:
    """In a mount namespace of its own: tc takes a program from a file of the kernel's own."""
    unshare(_CLONE_NEWNS)
    _mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE)
    _mount(b"bpf", directory.encode(), b"bpf", 0)
    for way, program in (("egress", _push(vlan)), ("ingress", _pop(vlan))):
        path = f"{directory}/{way}"
        name = ctypes.create_string_buffer(path.encode())
        _call(_OBJ_PIN, struct.pack("<QII", ctypes.addressof(name), _load(program), 0))
        command = ["tc", "filter", "add", "dev", fabric.TOR, way, "bpf", "da"]
        subprocess.run([*command, "object-pinned", path], check=True)


def _mount(what: bytes, where: bytes, kind: bytes | None, flags: int) -> None:
    if _libc.mount(what, where, kind, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {where.decode()}")


def client_in_vlan(vlan: int) -> None:
    """From here on the client is in that VLAN."""
    subprocess.run(["tc", "qdisc", "add", "dev", fabric.TOR, "clsact"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _attach(vlan, directory)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise OSError(f"the client cannot be put into VLAN {vlan}")


def client_in_no_vlan() -> None:
    """The client is as it was before."""
    subprocess.run(["tc", "qdisc", "del", "dev", fabric.TOR, "clsact"], check=True)
