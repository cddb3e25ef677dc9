"""What is tried out of a model, kept for the same files: the same numbers, and nothing tried."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lmfst.ground import stamps
from lmfst.ground.cache import sealed, unsealed
from lmfst.ground.errors import ModelError
from lmfst.lm import checks, tried
from lmfst.lm.files import ModelFiles
from lmfst.lm.identity import BLOCK_BYTES, EVERY, content_digest, identity
from lmfst.lm.load import load_lm
from lmfst.lm.transformers import TransformersLM
from tests.support.architectures import SIZE, SMALL, build, load, make, random_tree, rows_of
from tests.support.tiny import make_folder

LLAMA = transformers.LlamaConfig(**SMALL)
# The last layer can't be used apart; no token trees.
GEMMA2 = transformers.Gemma2Config(**SMALL, head_dim=4, sliding_window=4, query_pre_attn_scalar=4)
BLOOM = transformers.BloomConfig(
    vocab_size=SIZE, hidden_size=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
)


class Tries:
    """How often models were tried out."""

    def __init__(self) -> None:
        self.count = 0
        self._find = tried._find

    def __call__(self, lm: Any, trees: bool) -> tried.Verdict:
        self.count += 1
        return self._find(lm, trees)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tries:
    """A cache of its own, and files that count as settled at once."""
    found = Tries()
    monkeypatch.setenv("LMFST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tried, "_find", found)
    monkeypatch.setattr(stamps, "SETTLED", -60.0)
    return found


def kept(tmp_path: Path) -> list[Path]:
    place = tmp_path / "cache" / "checks"
    return sorted(place.iterdir()) if place.exists() else []


def mixed(*args: Any, **options: Any) -> Any:
    """A model whose contexts change each other."""
    model = build(LLAMA)

    def mix(module: Any, given: Any, output: Any) -> Any:
        return output + output.mean(0, keepdim=True) if output.shape[0] > 1 else output

    model.lm_head.register_forward_hook(mix)
    return model


MODELS: dict[str, tuple[Callable[[], Any], tuple[bool, bool, bool]]] = {
    "llama": (lambda: build(LLAMA), (True, True, False)),
    "gemma2": (lambda: build(GEMMA2), (True, False, False)),
    "bloom": (lambda: build(BLOOM), (False, True, False)),
    "mixed": (mixed, (False, True, True)),
}
"""Models, and (tree, head apart, alone) of each."""


@pytest.mark.parametrize("name", MODELS)
def test_the_same_numbers_with_a_kept_verdict(name: str, tries: Tries) -> None:
    make_model, expected = MODELS[name]
    found = []
    for _ in range(2):
        lm = load(make_model(), identity=name)
        assert (lm.tree, lm._head is not None, lm.alone) == expected
        session = lm.session()
        states = [state for state, _ in random_tree(session, 2, seed=1)]
        found.append((rows_of(session, states), lm.messages))  # type: ignore[attr-defined]
    assert tries.count == 1
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert bool(found[0][1]) == (not expected[0])


def test_a_verdict_is_of_what_it_was_asked_about(
    tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(**options: Any) -> int:
        before = tries.count
        make(LLAMA, **{"identity": "a", **options})
        return tries.count - before

    assert [count(), count()] == [1, 0]
    others: list[dict[str, Any]] = [
        {"identity": "b"}, {"bos": None}, {"tree": False}, {"context_length": 32},
    ]  # fmt: skip
    assert [count(**other) for other in others] == [1] * len(others)
    assert [count(**other) for other in others] == [0] * len(others)
    half = build(LLAMA).to(torch.bfloat16)
    load(half, identity="a")
    assert tries.count == 2 + len(others)
    for name in ("torch", "transformers"):
        # The library puts another object in its place while it loads.
        monkeypatch.setattr(sys.modules[name], "__version__", "0")
        assert count() == 1, name
    monkeypatch.setattr("lmfst.ground.verdicts.__version__", "0")
    assert count() == 1


def test_trees_that_nobody_asked_for_are_no_warning(tries: Tries) -> None:
    for _ in range(2):
        lm = make(LLAMA, identity="a", tree=False)
        assert not lm.tree and lm.messages == []  # type: ignore[attr-defined]
    assert tries.count == 1


def test_models_given_as_objects_are_tried_each_time(tries: Tries, tmp_path: Path) -> None:
    make(LLAMA), make(LLAMA)
    assert tries.count == 2 and kept(tmp_path) == []


def test_nothing_is_kept_of_a_model_that_fails(tries: Tries, tmp_path: Path) -> None:
    model = build(LLAMA)
    model.model.embed_tokens.weight.data[SIZE - 2] = float("nan")
    for _ in range(2):
        with pytest.raises(ModelError, match="hold NaN"):
            load(model, identity="a")
    assert tries.count == 2 and kept(tmp_path) == []


def change_verdict(**values: Any) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        found = json.loads(unsealed(data) or b"")
        return sealed(json.dumps(found | values).encode())

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-3] + b"x" + data[-2:],
        lambda data: sealed(b"\x80\x04."),
        lambda data: sealed(b"[1]"),
        lambda data: sealed(b'{"verdict": {}}'),
        change_verdict(asked=["another question"]),
        change_verdict(verdict=None),
        change_verdict(verdict={"alone": 1, "head": True, "against": ""}),
        change_verdict(verdict={"alone": False, "head": True, "against": None}),
        change_verdict(verdict={"alone": False, "head": True}),
    ],
)
def test_a_damaged_or_foreign_file_is_not_trusted(
    damage: Callable[[bytes], bytes], tries: Tries, tmp_path: Path
) -> None:
    make(LLAMA, identity="a")
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert make(LLAMA, identity="a").tree and tries.count == 2
    assert file.read_bytes() == whole


# What identifies files.


def files(folder: Path) -> ModelFiles:
    return ModelFiles(str(folder), {"pretrained_model_name_or_path": str(folder)})


def overwrite(path: Path, at: int) -> None:
    """Change a byte and set the time of the change back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_alike(folder: Path) -> None:
    """Another file of the same size and time, with the same bytes in the sample."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[BLOCK_BYTES + 10] ^= 1
    before = path.stat()
    (folder / "new").write_bytes(data)
    os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "new").replace(path)


def add_shard(folder: Path) -> None:
    (folder / "another.safetensors").write_bytes(b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: overwrite(folder / "model.safetensors", 5000),
        lambda folder: overwrite(folder / "config.json", 1),
        lambda folder: overwrite(folder / "tokenizer.json", 1),
        replace_alike,
        add_shard,
    ],
)
def test_changed_files_are_noticed(
    change: Callable[[Path], None], tries: Tries, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "model")
    before = identity(files(folder))
    assert before is not None and identity(files(folder)) == before
    change(folder)
    assert identity(files(folder)) not in (None, before)


def test_a_file_that_was_changed_just_now_has_no_identity(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    assert identity(files(folder)) is None


def test_a_file_from_the_future_has_no_identity(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    os.utime(file, (2e9 * 2,) * 2)
    assert stamps.stamp([file]) is None


def test_weights_changed_after_loading_are_read_again(tries: Tries, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")

    def row() -> np.ndarray:
        lm = load_lm(str(folder), warn=print)
        assert isinstance(lm, TransformersLM) and lm.tree
        return np.asarray(lm.next_logp([[70, 71]]))

    first, again = row(), row()
    assert tries.count == 1
    np.testing.assert_array_equal(first, again)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data[5, 5] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="hold NaN"):
        row()


def test_files_changed_while_they_are_read_are_not_known(
    tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmfst.lm import load_transformers

    folder, read = make_folder(tmp_path / "model"), load_transformers.load_model

    def changing(*args: Any) -> Any:
        found = read(*args)
        os.utime(folder / "model.safetensors")
        return found

    monkeypatch.setattr(load_transformers, "load_model", changing)
    load_lm(str(folder), warn=print)
    assert tries.count == 1 and kept(tmp_path) == []


def test_finite_weights_are_part_of_the_verdict(
    tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise AssertionError("a second pass over the weights")

    folder = make_folder(tmp_path / "model")
    load_lm(str(folder), warn=print)
    monkeypatch.setattr(checks, "require_finite_weights", fails)
    load_lm(str(folder), warn=print)


def test_large_files_are_known_by_their_content(tmp_path: Path) -> None:
    """Not by their time, which copies on other machines don't share."""
    data = bytearray(range(256)) * (EVERY // 256 * 2 + 3)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(data)
    other.write_bytes(data)
    os.utime(other, (1, 1))
    assert content_digest(one) == content_digest(other)
    for at in (0, EVERY + 5, len(data) - 1):
        changed = data.copy()
        changed[at] ^= 1
        other.write_bytes(changed)
        assert content_digest(one) != content_digest(other)
    other.write_bytes(data + b"x")
    assert content_digest(one) != content_digest(other)
