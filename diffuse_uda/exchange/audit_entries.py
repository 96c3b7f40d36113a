"""What an audit log says about a message: hashes, sizes, forms and norms; never a value of a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diffuse_uda.exchange.signing import Statement

if TYPE_CHECKING:  # whoever reads a log starts without torch, which takes seconds to import
    from torch import Tensor

ORDER_SENT = "order-sent"
ORDER_RECEIVED = "order-received"
QUESTION_SENT = "question-sent"
QUESTION_RECEIVED = "question-received"
"""The question for a card: the server does not know yet whom it asks, so the two sides are not compared in it."""

MESSAGE_SENT = "message-sent"
MESSAGE_RECEIVED = "message-received"
MESSAGE_REFUSED = "message-refused"
"""By the server: it came, but its signature or its place in the run was wrong."""

UPDATE_REFUSED = "update-refused"
"""By the server: the message was taken, its content was not; it counts for nothing and lies in quarantine."""

Facts = dict[str, Any]


def order_facts(
    *, run: str, fall_backs: int, site_id: str, message_type: str, payload: str, base: str, num_bytes: int
) -> Facts:
    """An order (or the question for a card) on its way to a site, as both sides can say it.

    Args:
        run: Identifier of the run.
        fall_backs: How often the run has gone back behind finished rounds, as the server says.
        site_id: Who it is for; empty where the server does not know yet who a node is.
        message_type: What the site shall do.
        payload: SHA-256 of the content.
        base: SHA-256 of its weights.
        num_bytes: Size of the content.
    """
    return {
        "run": run,
        "fall_backs": fall_backs,
        "site": site_id,
        "message": message_type,
        "payload": payload,
        "base": base,
        "bytes": num_bytes,
    }


def message_facts(statement: Statement, public_key: bytes, signature: bytes, num_bytes: int) -> Facts:
    """A site's message, as both sides can say it; with these facts anybody can check the signature."""
    return {
        "run": statement.run,
        "site": statement.site_id,
        "message": statement.kind.value,
        "phase": statement.phase,
        "round": statement.server_round,
        "base": statement.base,
        "payload": statement.payload,
        "key": public_key.hex(),
        "signature": signature.hex(),
        "bytes": num_bytes,
    }


def content_facts(weights: Mapping[str, Tensor] | None, scalars: Mapping[str, float]) -> Facts:
    """What a reply is made of: every tensor's form and Euclidean norm, every scalar."""
    return {
        "tensors": [tensor_facts(name, tensor) for name, tensor in (weights or {}).items()],
        "scalars": {key: float(value) for key, value in scalars.items()},
    }


def tensor_facts(name: str, tensor: Tensor) -> Facts:
    """A tensor without its values."""
    import torch  # noqa: PLC0415 - see above

    return {
        "name": name,
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "norm": float(torch.linalg.vector_norm(tensor.detach().to(torch.float64).reshape(-1))),
    }
