"""Flower's grid without Flower's servers: messages go straight to the client app, in threads of this process."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

# Messages cannot be made without knowing who makes them, and Flower has no public way to say so: the one private name
# that this project uses, in the one engine that needs it.
from flwr.supercore.task_identity import TaskIdentity

from diffuse_uda.training.interruption import raise_if_stopped
from diffuse_uda.types import Scalar

FIRST_NODE_ID = 101
RUN_ID = 1
SERVER_NODE_ID = 1
CLIENT_RAISED = 2
"""Flower's code for an exception in a client app."""

Delivery = Callable[[Message], None]
"""Called in the site's thread before the client app: it may look, wait, or raise what a broken client would."""

Return = Callable[[Message], Message | None]
"""Called with every reply on its way back: it may look, change it, or lose it (None)."""


class LocalGrid(Grid):
    """Nodes in threads. Close it, or use it in a `with` statement.

    Every site handles one message at a time, as Flower's nodes do. Messages are handed over without a network, but
    with their buffers of bytes, so both sides encode and decode as in a hospital; no tensor is shared.
    """

    def __init__(
        self,
        client_app: ClientApp,
        node_configs: Sequence[Mapping[str, Scalar]],
        run_config: Mapping[str, Scalar],
        *,
        num_workers: int = 1,
        on_delivery: Delivery = lambda _message: None,
        on_return: Return = lambda reply: reply,
    ) -> None:
        """Make one node for every node-config; `num_workers` of them work at the same time."""
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN_ID, SERVER_NODE_ID, 1
        self._client_app = client_app
        self._on_delivery = on_delivery
        self._on_return = on_return
        self._contexts = {
            FIRST_NODE_ID + index: Context(
                run_id=RUN_ID,
                node_id=FIRST_NODE_ID + index,
                node_config=dict(node_config),
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for index, node_config in enumerate(node_configs)
        }
        self._turns = {node_id: threading.Lock() for node_id in self._contexts}
        self._replies: dict[str, Future[Message | None]] = {}
        self._workers = ThreadPoolExecutor(num_workers, thread_name_prefix="site")

    def __enter__(self) -> Self:
        """Use the grid."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drop what has not begun and wait for what has; `stop_local_work` makes that short."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._replies.clear()

    @property
    def run(self) -> Any:  # noqa: ANN401 - Flower's own class for it is private
        """What Flower tells about the run."""
        return SimpleNamespace(run_id=RUN_ID)

    def set_run(self, run: object) -> None:
        """Accept the only run there is."""

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message; Flower has deprecated this in favour of `Message` itself."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> list[int]:
        """Ids of all nodes; nobody is ever offline."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Let the nodes begin as soon as a worker is free."""
        message_ids = []
        for message in messages:
            message_id = uuid.uuid4().hex
            copy = self.create_message(
                _unshared(message.content),
                message.metadata.message_type,
                message.metadata.dst_node_id,
                message.metadata.group_id,
                message.metadata.ttl,
            )
            self._replies[message_id] = self._workers.submit(self._serve, copy)
            message_ids.append(message_id)
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand out the replies that are ready, each once."""
        ready = []
        for message_id in list(message_ids):
            future = self._replies.get(message_id)
            if future is not None and future.done() and (reply := future.result()) is not None:
                del self._replies[message_id]
                ready.append(reply)
        return ready

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send, wait for all replies or for `timeout` seconds, return what came."""
        waiting = self.push_messages(messages)
        deadline = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while len(replies) < len(waiting) and (deadline is None or time.monotonic() < deadline):
            replies += self.pull_messages(waiting)
            time.sleep(0.002)
        return replies

    def _serve(self, message: Message) -> Message | None:
        node_id = message.metadata.dst_node_id
        with self._turns[node_id]:
            raise_if_stopped()
            try:
                self._on_delivery(message)
                reply = self._client_app(message, self._contexts[node_id])
            except Exception as error:  # noqa: BLE001 - as Flower does: an unsealed exception's words reach the server
                reply = Message(Error(CLIENT_RAISED, f"{type(error)}:<'{error}'>"), reply_to=message)
        return self._on_return(reply)


def _unshared(content: RecordDict) -> RecordDict:
    """Copy the records, not the bytes: a reader takes buffers out of its own message as it goes."""
    return RecordDict(
        {
            name: ArrayRecord(dict(record)) if isinstance(record, ArrayRecord) else record
            for name, record in content.items()
        }
    )
