"""`python -m server.superlink_process ... -- FLOWER'S OPTIONS`: Flower's server behind the gate; the hub starts it."""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from diffuse_uda.deployment.state_folder import read_secret
from diffuse_uda.exchange.flower_internals import run_superlink
from server.gate import ControlAccess, Gate, Rules

_ASKED_ALL_THE_TIME = frozenset(
    f"/v1/{name}" for name in ("runtime/acquire-task", "fleet/pull-messages", "fleet/send-node-heartbeat")
)


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into this project's part and Flower's."""
    parser = argparse.ArgumentParser(prog="python -m server.superlink_process", allow_abbrev=False)
    parser.add_argument("--federation", required=True)
    parser.add_argument("--control", type=ControlAccess, required=True)
    parser.add_argument("--admin-token", type=Path, required=True)
    parser.add_argument("--max-request-bytes", type=int, required=True)
    parser.add_argument("--longest-outage-s", type=float, required=True)
    place = list(arguments).index("--")
    return parser.parse_args(arguments[:place]), list(arguments[place + 1 :])


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the access log is worth keeping: the executor and every site ask for work all the time."""
    _client, _method, path, _version, status = record.args if isinstance(record.args, tuple) else (None,) * 5
    return path not in _ASKED_ALL_THE_TIME or status != HTTPStatus.OK


def main() -> None:
    """Run until somebody ends it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.access").addFilter(is_news)
    own, flowers = parse(sys.argv[1:])
    rules = Rules(
        federation=own.federation,
        control=own.control,
        admin_token=read_secret(own.admin_token).encode("ascii"),
        max_request_bytes=own.max_request_bytes,
    )
    run_superlink(flowers, gate=functools.partial(Gate, rules=rules), max_outage_s=own.longest_outage_s)


if __name__ == "__main__":
    main()
