"""Arrays that go to a device together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lmfst.lm.transfers import Arriving, Outbox


def test_what_waits_goes_together_and_arrives_as_it_was() -> None:
    outbox = Outbox(torch.device("cpu"))
    arrays = [
        np.arange(5, dtype=np.int32),
        np.zeros((0, 3), np.int64),
        np.array([[True, False, True]]),
        np.arange(12.0).reshape(3, 4).T,
    ]
    sent = [outbox.put(array) for array in arrays]
    first = sent[0].get()
    # The others are there, too: what is changed in one piece of memory shows in it alone.
    first.fill_(7)
    for one, array in zip(sent[1:], arrays[1:], strict=True):
        found = one.get()
        assert found.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        np.testing.assert_array_equal(found.numpy(), array)
        assert found.numpy().dtype == array.dtype
    later = outbox.put(arrays[0])
    assert later.get().tolist() == [0, 1, 2, 3, 4]
    assert outbox.put(arrays[0]).get().data_ptr() != later.get().data_ptr()


def test_what_could_not_be_sent_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(torch.device("cpu"))
    sent = outbox.put(np.arange(3))
    to = torch.Tensor.to
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "to", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            outbox.send()
    assert torch.Tensor.to is to and sent.get().tolist() == [0, 1, 2]


def test_what_a_failed_call_sent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(torch.device("cpu"))
    waiting = outbox.put(np.arange(3))
    to, sizes = torch.Tensor.to, []

    def full(self: torch.Tensor, *where: Any, **options: Any) -> torch.Tensor:
        sizes.append(len(self))
        if len(self) > 64:
            raise torch.OutOfMemoryError
        return to(self, *where, **options)

    monkeypatch.setattr(torch.Tensor, "to", full)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            outbox.send_now([np.zeros(100, bool), np.zeros(5, np.int64)])
    (found,) = outbox.send_now([np.arange(2)])
    assert found.tolist() == [0, 1] and waiting.get().tolist() == [0, 1, 2]
    assert sizes == [192, 192, 48]


def test_what_arrives_is_what_was_sent() -> None:
    arriving = Arriving(torch.arange(4.0, dtype=torch.float64))
    assert arriving.get().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_nothing_at_all_arrives_as_nothing() -> None:
    outbox = Outbox(torch.device("cpu"))
    sent = [outbox.put(np.zeros(shape, np.int32)) for shape in ((0,), (3, 0))]
    assert [one.get().shape for one in sent] == [(0,), (3, 0)]
    assert sent[1].get().dtype == torch.int32
