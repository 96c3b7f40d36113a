"""The project's own site app with a fault in every answer, and a server app that asks for all of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import diffuse_uda.exchange.quiet  # noqa: F401 - has to come before flwr

# isort: split
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.client_app import app as real_app
from diffuse_uda.config import StudyConfig
from diffuse_uda.exchange.flower import INTRODUCE, empty_content, encode_order, encode_weights, work_type
from diffuse_uda.exchange.orders import SiteCard
from diffuse_uda.exchange.plan import plan_hash
from diffuse_uda.exchange.run_options import read_run_config
from diffuse_uda.methods import build_method
from diffuse_uda.models import initial_weights
from server.ending import recorded_end
from server.introductions import meet_sites
from server.letters import Patience
from server.mail import Mail
from server.register import Register
from server.workflow import assignments, ordered_sites, steps, work_order
from tests.planted_faults import FAULTS, happening

ANSWERS = "answers.json"
ENDED_S = 240.0
"""For Flower to notice that a site's process is gone."""

Questions = dict[str, tuple[int, str, RecordDict]]
"""By fault: the node, the type of the message, its content."""


class LeakyApp(ClientApp):
    """The real app; which fault happens stands where a message names its group."""

    def __call__(self, message: Message, context: Context) -> Message:
        fault = FAULTS.get(message.metadata.group_id)
        if fault is None:
            return real_app(message, context)
        with happening(fault, Path(str(context.node_config["data-dir"]))):
            return real_app(message, context)


def ask_everything(grid: Grid, run_config: dict[str, object], names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Meet a source and a target, then ask for every fault.

    Returns:
        Outcome and reason by fault.
    """
    config, options = read_run_config(run_config)  # type: ignore[arg-type]
    mail = Mail(grid, register=Register(options.run_dir, run="leaks", plan=plan_hash(config)))
    cards = meet_sites(mail, config, options)
    heard = {}
    for turn in _turns(_questions(config, cards, names)):
        letters = {
            mail.send(node, kind, content, group=name, lifetime_s=ENDED_S): name for name, (node, kind, content) in turn
        }
        for answer in mail.answers(list(letters), patience=Patience(idle_s=ENDED_S, limit_s=ENDED_S)):
            name = next(name for letter, name in letters.items() if letter.node_id == answer.node_id)
            heard[name] = (answer.outcome.value, answer.reason)
    return heard


def _questions(config: StudyConfig, cards: dict[int, SiteCard], names: Collection[str]) -> Questions:
    sites = ordered_sites(cards.values())
    nodes = {card.role: node for node, card in cards.items()}
    questions: Questions = {
        name: (nodes[fault.role], INTRODUCE, empty_content())
        for name, fault in FAULTS.items()
        if name in names and fault.task is None
    }
    for step in steps(build_method(config, num_targets=len(sites) - 1)):
        weights = encode_weights(initial_weights(config, step.phase.model, len(sites[0].label_names)))
        for site_id, task in assignments(step.phase, sites).items():
            role = next(card.role for card in sites if card.site_id == site_id)
            order = work_order(step, task, sites)
            for name, fault in FAULTS.items():
                if name in names and (fault.task, fault.role) == (task, role):
                    questions.setdefault(name, (nodes[role], work_type(task), encode_order(order, weights)))
    return questions


def _turns(questions: Questions) -> Iterator[list[tuple[str, tuple[int, str, RecordDict]]]]:
    """One question to every node at a time, each node's in their order."""
    queues: dict[int, list[str]] = {}
    for name, (node, _, _) in questions.items():
        queues.setdefault(node, []).append(name)
    while any(queues.values()):
        yield [(queue[0], questions[queue.pop(0)]) for queue in queues.values() if queue]


client_app = LeakyApp()
server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask for every fault and write down what was heard."""
    _, options = read_run_config(context.run_config)
    with recorded_end(options.run_dir):
        heard = ask_everything(grid, dict(context.run_config), list(FAULTS))
        (options.run_dir / ANSWERS).write_text(json.dumps(heard), encoding="utf-8")
