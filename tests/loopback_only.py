"""`unshare --net python -m tests.loopback_only COMMAND ...`: run something where there is loopback and nothing else.

The last line of the output says how often anybody tried to reach another place: packets without a route, of either
version of IP, and datagrams to ports of this machine where nobody listens (a resolver, for one).
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path

_SET_FLAGS = 0x8914
_UP_AND_RUNNING = 0x41


def loopback_up() -> None:
    """A new network namespace has its loopback switched off."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP_AND_RUNNING))


def attempts() -> dict[str, int]:
    """What the kernel counted since the namespace was made."""
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    counts: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        kind = names.partition(":")[0]
        counts |= {
            f"{kind}{name}": int(value) for name, value in zip(names.split()[1:], values.split()[1:], strict=True)
        }
    for line in Path("/proc/net/snmp6").read_text(encoding="ascii").splitlines():
        name, value = line.split()
        counts[name] = int(value)
    return {name: counts[name] for name in ("IpOutNoRoutes", "Ip6OutNoRoutes", "UdpNoPorts", "Udp6NoPorts")}


if __name__ == "__main__":
    loopback_up()
    code = subprocess.run(sys.argv[1:], check=False).returncode
    print(json.dumps(attempts()))  # noqa: T201 - output of a command
    sys.exit(code)
