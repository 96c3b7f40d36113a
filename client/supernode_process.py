"""`python -m client.supernode_process ... -- FLOWER'S OPTIONS`: Flower's node under the site's rules."""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from client.bundle_approval import refusal
from diffuse_uda.exchange.flower_internals import run_supernode


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into this project's part and Flower's."""
    parser = argparse.ArgumentParser(prog="python -m client.supernode_process", allow_abbrev=False)
    parser.add_argument("--approved-bundles", type=Path, required=True)
    parser.add_argument("--outage-patience-s", type=float, required=True)
    place = list(arguments).index("--")
    return parser.parse_args(arguments[:place]), list(arguments[place + 1 :])


def main() -> None:
    """Run until somebody ends it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    own, flowers = parse(sys.argv[1:])
    run_supernode(
        flowers,
        refusal=functools.partial(refusal, path=own.approved_bundles),
        outage_patience_s=own.outage_patience_s,
    )


if __name__ == "__main__":
    main()
