"""Work spread over processes: results come in the order of the tasks, and only a few tasks are under way at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from diffuse_uda.errors import DiffuseUdaError

CASES_PER_WORKER = 100
"""Fewer are checked sooner than another process has started."""
_UNDER_WAY = 4

Task = TypeVar("Task")
Result = TypeVar("Result")


def choose_num_workers(num_cases: int) -> int:
    """One process for every hundred cases, as many as this process may use cores; 1 where it may start none."""
    if multiprocessing.current_process().daemon:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), -(-num_cases // CASES_PER_WORKER)))


def ordered_results(work: Callable[[Task], Result], tasks: Iterable[Task], *, num_workers: int) -> Iterator[Result]:
    """Do the work on every task, in processes of their own if there is more than one worker.

    Args:
        work: A function of a module: it has to be found from another process.
        tasks: Taken one by one, never far ahead of the results.
        num_workers: 1 works in this process.

    Yields:
        Results in the order of the tasks.

    Raises:
        DiffuseUdaError: If a worker was killed.
    """
    if num_workers == 1:
        yield from map(work, tasks)
        return
    under_way: deque[Future[Result]] = deque()
    # Forked copies of a process with threads (torch, gRPC) may hang; new ones start clean.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context)
    try:
        for task in tasks:
            under_way.append(pool.submit(work, task))
            if len(under_way) >= _UNDER_WAY * num_workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        msg = (
            f"one of {num_workers} workers was killed, most likely because memory ran out; every worker holds one case "
            f"at a time: try fewer (--workers {max(1, num_workers // 2)})"
        )
        raise DiffuseUdaError(msg) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
