"""Numbers of rows in the order of lexicons, by a kernel and as a device does it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmfst.ground.errors import ModelError
from lmfst.inference.gathering import Gathering, Wanted
from lmfst.inference.normaliser import Normaliser
from lmfst.lm.transfers import Outbox

CPU = torch.device("cpu")
DEVICES = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]
OUTSIDE = np.array([28, 29])


def _wanted() -> list[Wanted]:
    rng = np.random.default_rng(1)
    order = rng.permutation(28).astype(np.int32)
    sizes = ((3, order), (1, order[:4]), (9, order), (0, order[:2]))
    return [Wanted(rng.integers(0, 7, n), tokens) for n, tokens in sizes]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("size", [7, 3, 1])
def test_rows_are_gathered_alike(
    dtype: torch.dtype, device: torch.device, on_host: bool, size: int
) -> None:
    rows = torch.randn(7, 30, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected, wanted = rows.double().numpy(), _wanted()
    lse = np.log(np.exp(expected[:, :28]).sum(axis=1))
    place = CPU if on_host else device
    outbox = Outbox(place)
    gathering = Gathering(wanted, Normaliser(OUTSIDE), outbox, on_host)
    buffer = torch.empty(30, size, dtype=dtype, device=place)
    blocks = []
    for begin in range(0, 7, size):
        # As the last layer of a model gives rows: each block in the memory of the one before.
        part = slice(begin, min(begin + size, 7))
        block = buffer[:, : part.stop - begin].t()
        block.copy_(rows[part])
        blocks.append(gathering.add(block, part))
    seen = [0] * len(wanted)
    for arrived in blocks:
        for at, (one, found) in enumerate(zip(wanted, arrived(), strict=True)):
            own = one.rows[found.which]
            np.testing.assert_array_equal(found.terms, expected[own][:, one.tokens])
            np.testing.assert_allclose(found.lse, lse[own], rtol=1e-12)
            assert found.terms.dtype == (np.float64 if dtype == torch.float64 else np.float32)
            seen[at] += len(own)
    assert seen == [len(one.rows) for one in wanted]


@pytest.mark.parametrize("on_host", [True, False])
def test_rows_that_are_no_distributions_are_an_error(on_host: bool) -> None:
    rows = torch.zeros(7, 30)
    rows[2, 5] = math.nan
    gathering = Gathering(_wanted(), Normaliser(OUTSIDE), Outbox(CPU), on_host)
    with pytest.raises(ModelError, match="not a number"):
        gathering.add(rows, slice(0, 7))()
