"""A draw depends on the study's seed and on the name of the place, on nothing else."""

from __future__ import annotations

import hashlib

import torch

from diffuse_uda.training.seeding import derive_generator, derive_seed


def test_the_seed_is_the_upper_63_bits_of_the_sha_256_of_seed_and_place() -> None:
    digest = hashlib.sha256(b"7\x1fleeds\x1fadapt\x1f3").hexdigest()
    assert derive_seed(7, "leeds", "adapt", 3) == int(digest[:16], 16) // 2


def test_every_part_of_the_place_matters_and_so_does_where_one_part_ends() -> None:
    places: list[tuple[str | int, ...]] = [("a", "b"), ("b", "a"), ("ab",), ("a",), (), ("a", "b", 1)]
    found = {derive_seed(seed, *place) for place in places for seed in (7, 8)}
    assert len(found) == 2 * len(places)


def test_seeds_are_ones_that_torch_and_numpy_accept() -> None:
    assert all(0 <= derive_seed(0, place) < 2**63 for place in range(1000))


def test_generators_of_one_place_draw_the_same_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    first, again = derive_generator(1, "leeds"), derive_generator(1, "leeds")
    elsewhere = derive_generator(1, "york")
    draw = torch.rand(4, generator=first)
    assert torch.equal(draw, torch.rand(4, generator=again))
    assert not torch.equal(draw, torch.rand(4, generator=elsewhere))
    assert torch.equal(torch.get_rng_state(), before)
