"""A site as a Flower app: a translation between Flower's messages and the site's correspondence, in sealed words."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client import tasks
from client.correspondence import Desk, Received, answer_with_card, answer_with_work, open_desk, receive, refuse
from client.site import open_site
from client.watchdog import watched
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.flower import INTRODUCE, ErrorCode, error_reply
from diffuse_uda.exchange.run_options import read_run_config
from diffuse_uda.exchange.sealing import sealed
from diffuse_uda.methods.phase import Task

app = ClientApp()


def _introduce(desk: Desk, letter: Received) -> RecordDict:
    return answer_with_card(desk, letter, tasks.introduce)


def _work(desk: Desk, letter: Received) -> RecordDict:
    return answer_with_work(desk, letter, tasks.run_task)


def _sealed_reply(message: Message, context: Context, work: Callable[[Desk, Received], RecordDict]) -> Message:
    """Do the work for the site of this node; the reply is the result, or an error without its words."""
    desk, letter = None, None
    try:
        with sealed(message.metadata.message_type):
            config, options = read_run_config(context.run_config)
            node_config = dict(context.node_config)
            if "site-id" not in node_config and "partition-id" in node_config:
                # A simulated node knows its number only; a real one names itself, and no server can rename it.
                if options.sites_file is None or not options.sites_file.exists():
                    return error_reply(ErrorCode.SITE_UNASSIGNED, "this node plays no site yet", message)
                sites = json.loads(options.sites_file.read_text(encoding="utf-8"))
                node_config |= sites[int(node_config["partition-id"])]
            desk = open_desk(open_site(node_config), config)
            letter = receive(desk, message.metadata.message_type, message.content)
            limit_s = config.federation.idle_timeout_s
            content = watched(partial(work, desk, letter), silence_limit_s=limit_s)
        return Message(content, reply_to=message)
    except SiteTaskError as error:
        return error_reply(ErrorCode.TASK_FAILED, _signed(desk, letter, str(error)), message)


def _signed(desk: Desk | None, letter: Received | None, words: str) -> str:
    """Sign an error's sealed words, if the site has come as far as its key; a failure to do so adds no words."""
    if desk is None or letter is None:
        return words
    try:
        with sealed("refusal"):
            return refuse(desk, letter, words)
    except SiteTaskError:
        return words


@app.query(INTRODUCE.partition(".")[2])
def introduce(message: Message, context: Context) -> Message:
    """Answer with the site's card."""
    return _sealed_reply(message, context, _introduce)


def carry_out(message: Message, context: Context) -> Message:
    """Carry out an order: one route for all tasks, `client.tasks` tells them apart."""
    return _sealed_reply(message, context, _work)


for _task in Task:
    app.train(_task.value)(carry_out)
