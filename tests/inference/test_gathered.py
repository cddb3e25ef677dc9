"""Numbers of rows in the order of lexicons, by a kernel and as a device does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmfst.inference.closing import gathered


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rows_are_gathered_alike(dtype: torch.dtype) -> None:
    rows = torch.randn(7, 30, generator=torch.Generator().manual_seed(1)).to(dtype)
    rng = np.random.default_rng(1)
    asked = [
        (rng.integers(0, 7, n), rng.integers(0, 30, m).astype(np.int32))
        for n, m in ((3, 30), (1, 4), (9, 11))
    ]
    for block in (rows, rows.t().contiguous().t()):
        for on_host in (True, False, None):
            found = gathered(block, asked, on_host)
            for one, (some, tokens) in zip(found, asked, strict=True):
                expected = rows[some][:, torch.from_numpy(tokens).long()].double().numpy()
                np.testing.assert_array_equal(one.astype(np.float64), expected)
                assert one.dtype == (np.float64 if dtype == torch.float64 else np.float32)
