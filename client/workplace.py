"""What every task needs: the site, the study, the order, the site's private state, a device and randomness."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from client.site import Site
from client.site_state import SiteState
from diffuse_uda.config import FitConfig, StudyConfig
from diffuse_uda.exchange.orders import SiteReply, WorkOrder
from diffuse_uda.models import build_model
from diffuse_uda.training.checkpoints import load_weights_
from diffuse_uda.training.device import choose_device, place, use_threads
from diffuse_uda.training.memory import largest_batch
from diffuse_uda.training.schedule import RoundPlan
from diffuse_uda.training.seeding import derive_generator
from diffuse_uda.types import ModelName, SiteRole, StateDict

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workplace:
    """One order at one site, with everything it takes to carry it out."""

    site: Site
    config: StudyConfig
    order: WorkOrder
    state: SiteState
    device: torch.device

    @property
    def domain(self) -> int:
        """Row of this site in the denoiser's domain table."""
        return self.order.domains.index(self.site.site_id)

    @property
    def num_classes(self) -> int:
        """Classes of the study, background included."""
        return len(self.order.label_names)

    def generator(self, purpose: str) -> torch.Generator:
        """Randomness of this site, phase and round, for one purpose."""
        order = self.order
        return derive_generator(self.config.seed, self.site.site_id, order.phase, order.server_round, purpose)

    def model(self, name: ModelName, weights: StateDict) -> nn.Module:
        """Build a network and put received or kept weights into it."""
        model = build_model(self.config, name, self.num_classes)
        load_weights_(model, weights)
        return place(model, self.device, self.config.compute)

    def batch_size(self, name: ModelName, wanted: int, *, volumes_per_example: int = 1) -> int:
        """The configured batch if a step of it fits; on a GPU a smaller one that does, said in the log.

        A CPU's free memory says little about what will be free, so there the configured batch is taken or refused.

        Raises:
            MemoryEstimateError: If no batch fits; the message says what would.
        """
        smallest = 1 if self.device.type == "cuda" else wanted
        volumes = largest_batch(
            self.config,
            name,
            self.num_classes,
            wanted=wanted * volumes_per_example,
            smallest=smallest * volumes_per_example,
            device=self.device,
        )
        size = volumes // volumes_per_example
        if size < wanted:
            logger.warning("batch of the %s: %d instead of %d, the largest that fits here", name.value, size, wanted)
        return size

    def plan(self, fit: FitConfig) -> RoundPlan:
        """Where this round stands in its phase, for a site of this role."""
        share = fit.target_step_fraction if self.site.role is SiteRole.TARGET else 1.0
        return RoundPlan.of(fit, self.order.server_round, share=share)


def open_workplace(site: Site, config: StudyConfig, order: WorkOrder) -> Workplace:
    """Prepare this process for an order: threads, device, the site's folder."""
    num_threads = config.compute.num_threads if site.num_threads is None else site.num_threads
    if num_threads == 0 and site.shares_machine:
        # From the order alone, never from who happens to be running: threads change the last digits of convolutions.
        num_threads = max(1, (os.cpu_count() or 1) // order.num_participants)
    use_threads(num_threads)
    return Workplace(
        site=site,
        config=config,
        order=order,
        state=SiteState(site.workspace / "state"),
        device=choose_device(config.compute),
    )


def trained(model: nn.Module, num_examples: int, metrics: Mapping[str, float]) -> SiteReply:
    """Reply with a model's weights, in float32 on the CPU as they travel."""
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    return SiteReply(weights=weights, num_examples=num_examples, metrics=metrics)
