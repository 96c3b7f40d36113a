"""A site as a Flower app: decode, work, check what may leave, encode. What goes wrong is said in sealed words."""

from __future__ import annotations

import json
from collections.abc import Callable

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client import tasks
from client.site import Site, open_site
from diffuse_uda.config import StudyConfig
from diffuse_uda.errors import SiteTaskError
from diffuse_uda.exchange.flower import INTRODUCE, ErrorCode, decode_order, encode_card, encode_reply, error_reply
from diffuse_uda.exchange.policy import check_card, reply_policy
from diffuse_uda.exchange.run_options import read_run_config
from diffuse_uda.exchange.sealing import sealed
from diffuse_uda.methods.phase import Task

app = ClientApp()


def _introduce(site: Site, config: StudyConfig, _content: RecordDict) -> RecordDict:
    card = tasks.introduce(site, config)
    check_card(card, config, site_allows_style=site.allow_style_blocks)
    return encode_card(card)


def _work(site: Site, config: StudyConfig, content: RecordDict) -> RecordDict:
    order, weights = decode_order(content)
    policy = reply_policy(config, site.role, order, weights)
    reply = policy.without_small_groups(tasks.run_task(site, config, order, weights))
    policy.check(reply)
    return encode_reply(reply)


def _sealed_reply(
    message: Message, context: Context, work: Callable[[Site, StudyConfig, RecordDict], RecordDict]
) -> Message:
    """Do the work for the site of this node; the reply is the result, or an error without its words."""
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
            content = work(open_site(node_config), config, message.content)
        return Message(content, reply_to=message)
    except SiteTaskError as error:
        return error_reply(ErrorCode.TASK_FAILED, str(error), message)


@app.query(INTRODUCE.partition(".")[2])
def introduce(message: Message, context: Context) -> Message:
    """Answer with the site's card."""
    return _sealed_reply(message, context, _introduce)


def carry_out(message: Message, context: Context) -> Message:
    """Carry out an order: one route for all tasks, `client.tasks` tells them apart."""
    return _sealed_reply(message, context, _work)


for _task in Task:
    app.train(_task.value)(carry_out)
