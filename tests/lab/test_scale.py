# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/bench scale makes of what strace prints."""

from .bench.scale import Messages, messages_of

TRACE = """\
12 sendto(3, [{nlmsg_len=40, nlmsg_type=RTM_GETLINK}, ...], 40, 0, NULL, 0) = 40
12 recvmsg(3, {msg_name={sa_family=AF_NETLINK, nl_pid=0}, ...}, MSG_PEEK|MSG_TRUNC) = 3452
12 recvmsg(3, {msg_name={sa_family=AF_NETLINK, nl_pid=0}, ...}, 0) = 3452
12 sendmsg(4, {msg_name={sa_family=AF_NETLINK, nl_pid=0}, msg_iov=[...]}, 0) = 32
12 recvmsg(4, {msg_name={sa_family=AF_NETLINK, nl_pid=0}, ...}, 0) = 36
12 recvmsg(5, {msg_name=NULL, msg_namelen=0, ...}, 0) = 120
12 sendmsg(5, {msg_name=NULL, msg_namelen=0, msg_iov=[...]}, MSG_NOSIGNAL) = 64
12 recvmsg(4, {msg_namelen=12}, MSG_DONTWAIT) = -1 EAGAIN (Resource temporarily unavailable)
"""


def test_messages() -> None:
    found = messages_of(TRACE)
    assert found == Messages(requests=2, answers=2, bytes=3488)
    assert found - Messages(1, 1, 3452) == Messages(1, 1, 36)
