"""Addresses that this machine must listen on: free, or taken by whom."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from diffuse_uda.doctor.address import Address
from diffuse_uda.doctor.verdict import Verdict, failed, passed, warned

_LISTENING = "0A"
_OURS = re.compile(r"flower-super(link|node|exec)|flower_internals|diffuse-uda|-m (server|client|simulations)")
"""Programs of a federation."""
_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Occupation:
    """What came of trying to listen."""

    error: int | None
    """Number of the system's error; None if the address is free."""
    process_id: int | None = None
    program: str | None = None
    """Name of whoever listens, without its arguments: they may hold tokens. None if this account may not know."""


def try_to_listen(address: Address) -> Occupation:
    """Listen for a moment, and if that fails find out who does."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
            listener.bind(where)
            listener.listen(1)
    except OSError as error:
        number = errno.EADDRNOTAVAIL if isinstance(error, socket.gaierror) else error.errno
        if number != errno.EADDRINUSE:
            return Occupation(error=number)
        process_id, program = _listener_of(address.port)
        return Occupation(error=number, process_id=process_id, program=program)
    return Occupation(error=None)


def judge_port(address: Address, seen: Occupation) -> Verdict:
    """The address is free, or held by a program of the federation, which then runs already."""
    check, wanted = f"port {address.port}", f"{address} free, or held by this federation's own program"
    if seen.error is None:
        return passed(check, f"{address}: free", wanted)
    if seen.error == errno.EADDRINUSE:
        holder = "somebody whom this account may not see"
        if seen.program is not None:
            holder = f"{seen.program} (process {seen.process_id})"
        found = f"{address}: taken by {holder}"
        if seen.program is not None and _OURS.search(seen.program):
            return warned(check, found, wanted, "it runs already: stop it before starting another")
        fix = "stop it, or choose another port: clients would talk to whoever holds this one"
        return failed(check, found, wanted, fix)
    fix = "listen on an address of this machine, and on a port above 1023 or with the right to lower ones"
    return failed(check, f"{address}: {os.strerror(seen.error or 0)}", wanted, fix)


def program_of(arguments: list[str]) -> str:
    """What runs, by its command line: the program, and what an interpreter runs. Nothing else of the arguments."""
    program = Path(arguments[0]).name if arguments else "?"
    if not program.startswith("python"):
        return program
    for position, argument in enumerate(arguments[1:], start=1):
        if argument == "-c":
            return program
        if argument == "-m" and position + 1 < len(arguments):
            return f"{program} -m {arguments[position + 1]}"
        if not argument.startswith("-"):
            return f"{program} {Path(argument).name}"
    return program


def _listener_of(port: int) -> tuple[int | None, str | None]:
    sockets = {f"socket:[{inode}]" for name in ("tcp", "tcp6") for inode in _inodes(_PROC / "net" / name, port)}
    for process in _PROC.glob("[0-9]*"):
        try:
            if any(os.readlink(link) in sockets for link in (process / "fd").iterdir()):  # noqa: PTH115 - no path
                arguments = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                return int(process.name), program_of(arguments)
        except OSError:  # another account's process, or one that has ended
            continue
    return None, None


def _inodes(table: Path, port: int) -> list[str]:
    """Sockets that listen on a port, from the kernel's table: slot, local address:port, remote, state, ..., inode."""
    try:
        rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]
