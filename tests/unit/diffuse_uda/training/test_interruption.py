"""A stop is noticed between two steps and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from diffuse_uda.training.interruption import allow_local_work, raise_if_stopped, stop_local_work


@pytest.fixture(autouse=True)
def allowed_afterwards() -> Iterator[None]:
    yield
    allow_local_work()


def test_work_goes_on_until_a_stop_is_asked_for_and_again_after_it_is_taken_back() -> None:
    raise_if_stopped()
    stop_local_work()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            raise_if_stopped()
    allow_local_work()
    raise_if_stopped()
