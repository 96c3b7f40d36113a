"""Rows of the domain tables belong to their sites."""

import torch

from diffuse_uda.algorithms.domain_rows import owned_rows


def test_every_domain_gets_the_row_its_own_site_trained() -> None:
    base = torch.zeros(4, 2)
    sent = [base.clone() for _ in range(3)]
    sent[0][0], sent[1][1], sent[2][2] = 1.0, 2.0, 3.0
    shares = [0.5, 0.25, 0.25]
    average = sum((share * rows for share, rows in zip(shares, sent, strict=True)), torch.zeros(4, 2))
    rows = owned_rows(average, base, shares)
    assert rows.tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [0.0, 0.0]]


def test_a_site_that_was_not_used_keeps_its_row() -> None:
    base = torch.tensor([[5.0], [6.0]])
    average = torch.tensor([[7.0], [6.0]])
    assert owned_rows(average, base, [1.0, 0.0]).tolist() == [[7.0], [6.0]]
