"""Damaged files of models, models and tokenizers that don't belong together, names on a hub."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lmfst.ground.errors import ModelError, UsageError
from lmfst.ground.temporary import SCRATCH, mark
from lmfst.lm.files import model_files
from lmfst.lm.load import load_lm
from tests.lm.test_code import own_model, own_tokenizer, pickled, pickled_by_name, pickled_shards
from tests.support.tiny import change, make_folder, make_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("tiny") / "model")


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ],
)
@pytest.mark.parametrize(
    "text", ['{"eos_token_id": 0', "[]", '"text"', "", "\ufeff{}", '{"a": ' + "[" * 200_000]
)
def test_damaged_files(folder: Path, tmp_path: Path, file: str, text: str) -> None:
    model = copy(folder, tmp_path)
    (model / file).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=f"{file} is damaged"):
        load_lm(str(model))


@pytest.mark.parametrize("file", ["generation_config.json", "tokenizer_config.json"])
def test_a_link_that_leads_nowhere_is_no_missing_file(
    folder: Path, tmp_path: Path, file: str
) -> None:
    model = copy(folder, tmp_path)
    (model / file).unlink()
    (model / file).symlink_to(tmp_path / "pruned")
    with pytest.raises(ModelError, match=f"{file} is no file"):
        load_lm(str(model))


@pytest.mark.parametrize("file", ["tokenizer.json", "chat_template.jinja"])
def test_damaged_tokenizers(folder: Path, tmp_path: Path, file: str) -> None:
    model = copy(folder, tmp_path)
    (model / file).write_bytes(b'{"version": "1.0", "\xff\xfe')
    with pytest.raises(ModelError, match="can't be loaded"):
        load_lm(str(model))


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize(
    "named",
    ["AutoModelForCausalLM", "LlamaForCausalLM", "GenerationConfig", "RagTokenizer", "logging",
     "AutoTokenizer", ["LlamaTokenizer"], 3],
)  # fmt: skip
def test_a_tokenizers_class_that_is_none(
    folder: Path, tmp_path: Path, file: str, named: object
) -> None:
    model = copy(folder, tmp_path)
    change(model / "tokenizer_config.json", tokenizer_class=None)
    change(model / file, tokenizer_class=named)
    with pytest.raises(ModelError, match=rf"tokenizer_class .* in {file}|can't be loaded"):
        load_lm(str(model))


@pytest.mark.parametrize("named", ["PreTrainedTokenizerFast", "TokenizersBackend", "NoSuchClass"])
def test_tokenizers_classes(folder: Path, tmp_path: Path, named: str) -> None:
    model = copy(folder, tmp_path)
    change(model / "tokenizer_config.json", tokenizer_class=named)
    assert load_lm(str(model)).vocab.size == 259


@pytest.mark.parametrize("special", [False, True])
def test_fewer_rows_than_ids(folder: Path, tmp_path: Path, special: bool) -> None:
    from transformers import AutoTokenizer

    model = copy(folder, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<more>"], special_tokens=special)
    tokenizer.save_pretrained(model)
    said: list[str] = []
    if special:
        assert load_lm(str(model), warn=said.append).vocab.size == 259
        assert len(said) == 1 and "259 rows" in said[0] and "('<more>', id 259)" in said[0]
        return
    with pytest.raises(ModelError, match=r"don't belong together.*259 rows.*id 259.*<more>"):
        load_lm(str(model))


def test_a_begin_token_without_a_row(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = copy(folder, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"bos_token": "<more>"})
    tokenizer.save_pretrained(model)
    with pytest.raises(ModelError, match=r"begin-of-text token .* has the id 259, .* 259 rows"):
        load_lm(str(model))
    with pytest.raises(UsageError, match=r"--bos '<more>' has the id 259, .* 259 rows"):
        load_lm(str(model), bos="<more>")
    assert load_lm(str(model), bos="<|im_end|>").vocab.size == 259


def test_a_tokenizer_of_another_model(folder: Path, tmp_path: Path) -> None:
    import transformers

    model = copy(folder, tmp_path)
    config = transformers.AutoConfig.from_pretrained(model)
    config.vocab_size = 200
    transformers.LlamaForCausalLM(config).save_pretrained(model)
    with pytest.raises(ModelError, match=r"don't belong together.*200 rows.*id 258"):
        load_lm(str(model))


def test_more_rows_than_ids(tmp_path: Path) -> None:
    path = make_gguf(tmp_path / "padded.gguf", bos=0, eos=0, template=None, rows=270)
    assert load_lm(str(path)).vocab.size == 270


def test_the_folder_of_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.touch()
    with model_files(str(path), None, print) as files:
        folder = Path(files.where["pretrained_model_name_or_path"])
        assert folder.name.startswith(f"{SCRATCH}{mark()}-"), "a later process knows it as ours"
    assert not folder.exists()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    with (
        pytest.raises(ModelError, match=r"model.gguf can't be linked to(.|\n)*TMPDIR"),
        model_files(str(path), None, print),
    ):
        pass


# Names on a hub, out of a cache of its files.


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of `evil/tiny` in such a cache."""
    import huggingface_hub

    for module in (huggingface_hub.constants, huggingface_hub.file_download):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path), raising=False)
    repository = tmp_path / "models--evil--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return Path(shutil.copytree(folder, repository / "snapshots" / ("0" * 40)))


def test_models_of_a_hub(hub: Path) -> None:
    said: list[str] = []
    lm = load_lm("evil/tiny", warn=said.append)
    assert lm.vocab.size == 259 and lm.describe()["revision"] == "0" * 40
    assert said == []


@pytest.mark.parametrize(
    "alter", [own_model, own_tokenizer, pickled, pickled_shards, pickled_by_name]
)
def test_what_would_run_out_of_a_hub(hub: Path, alter: Callable[[Path], None]) -> None:
    alter(hub)
    with pytest.raises(ModelError, match=r"runs no code|pickle"):
        load_lm("evil/tiny")


def test_damaged_files_of_a_hub(hub: Path) -> None:
    (hub / "generation_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"generation_config.json is damaged"):
        load_lm("evil/tiny")


def test_a_file_that_was_never_fetched(hub: Path) -> None:
    (hub / "generation_config.json").unlink()
    said: list[str] = []
    load_lm("evil/tiny", warn=said.append)
    assert len(said) == 1 and "may have a generation_config.json" in said[0]
    known = hub.parent.parent / ".no_exist" / hub.name
    known.mkdir(parents=True)
    (known / "generation_config.json").touch()
    load_lm("evil/tiny", warn=said.append)
    assert len(said) == 1
