"""The files of a transformers model, found and read before the library reads them.

The library passes over some damaged files as if they were missing, and files may name code: what
would change a number in silence, or would run, is an error here. GGUF files are read alone,
whatever lies beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmfst.ground.defaults import MODEL as DEFAULT_MODEL
from lmfst.ground.errors import ModelError
from lmfst.ground.resources import resource_dir
from lmfst.ground.temporary import scratch_folder
from lmfst.ground.types import Warn
from lmfst.lm.default import default_model_dir

PACKAGED = ("dna",)
"""Names of the model folders among the shipped data."""
CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OBJECTS = (CONFIG, GENERATION, TOKENIZER, "special_tokens_map.json", "added_tokens.json", INDEX)
"""Files that hold one JSON object, where there are any."""
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
WHOLE, TEKKEN = "tokenizer.json", "tekken.json"
PIECES = (
    "tokenizer.model", "tiktoken.model", "spiece.model", "sentencepiece.bpe.model",
    "sentencepiece.model", "spm.model",
)  # fmt: skip
"""Files of SentencePiece, or of tiktoken under such a name."""
VOCABULARIES = (WHOLE, TEKKEN, *PIECES, "vocab.json", "vocab.txt")
"""Names of files that some class of tokenizers reads its vocabulary from."""


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's files are.

    name: what the user calls the model. where: the arguments of `from_pretrained` that name it.
    """

    name: str
    where: dict[str, Any]

    @property
    def gguf(self) -> bool:
        """Whether all of the model is in one GGUF file."""
        return "gguf_file" in self.where

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file, None if the model is no such file."""
        if not self.gguf:
            return None
        return Path(self.where["pretrained_model_name_or_path"], self.where["gguf_file"])

    @property
    def folder(self) -> Path | None:
        """The local folder, None for a name on a hub."""
        place = Path(self.where["pretrained_model_name_or_path"])
        return place if place.is_dir() else None

    @property
    def commit(self) -> str | None:
        """The revision on a hub, None for local files."""
        return self.where.get("revision")

    def path(self, file: str) -> Path | None:
        """The file of that name, fetched from the hub if need be; None if the model has none.

        ModelError for a link that leads nowhere, and where the hub can't be asked.
        """
        if self.gguf:
            return None
        if self.folder is not None:
            found = self.folder / file
            if os.path.lexists(found) and not found.is_file():
                raise ModelError(
                    f"{found} is no file that can be read: a link that leads nowhere, or a folder",
                    hint="copy the model again, or delete it if the model has no such file",
                )
            return found if found.is_file() else None
        from transformers.utils import cached_file

        try:
            fetched = cached_file(
                self.where["pretrained_model_name_or_path"],
                file,
                revision=self.where["revision"],
                _raise_exceptions_for_missing_entries=False,
            )
        except Exception as error:  # whatever the hub's client raised, the file can't be had
            raise not_loaded(f"{file} of {self.name}", error) from error
        return None if fetched is None else Path(fetched)

    def read(self, file: str) -> dict[str, Any] | None:
        """The JSON object in a file; None if there is no such file, ModelError if it is damaged."""
        path = self.path(file)
        if path is None:
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(path, f"it can't be read: {error}") from error
        if not isinstance(found, dict):
            raise _damaged(path, f"it holds a {type(found).__name__}, not an object")
        return found

    def check(self, warn: Warn) -> None:
        """ModelError for a damaged file, an adapter, or weights that are pickles; a warning where
        it isn't known whether the model has a file."""
        if self.gguf:
            return
        for file in OBJECTS:
            self.read(file)
        if self.folder is None and self.path(CONFIG) and self._unknown(GENERATION):
            warn(
                f"{self.name} may have a {GENERATION} that isn't in the cache of the hub's files: "
                "what ends a text may differ from what it says"
            )
        if self.folder is not None and not any(self.path(file) for file in VOCABULARIES):
            raise _no_vocabulary(self.name, self.folder)
        if self.path("adapter_config.json") is not None:
            # The library reads it where peft is installed, and says nothing where it isn't.
            raise ModelError(
                f"{self.name} holds adapter_config.json, an adapter on a model's weights, which "
                "lmfst doesn't apply",
                hint="merge the two and save them: "
                "peft_model.merge_and_unload().save_pretrained(folder)",
            )
        self._refuse_pickles()

    def _unknown(self, file: str) -> bool:
        """Whether a model on a hub was never asked for a file, as in a cache filled in part."""
        from huggingface_hub import try_to_load_from_cache

        name, revision = self.where["pretrained_model_name_or_path"], self.where["revision"]
        return try_to_load_from_cache(name, file, revision=revision) is None

    def _refuse_pickles(self) -> None:
        """ModelError if the weights aren't in safetensors: to read a pickle is to run it."""
        named = str((self.read(CONFIG) or {}).get("transformers_weights") or WEIGHTS)
        if not named.endswith((".safetensors", ".safetensors.index.json")):
            raise pickled(f"transformers_weights in {CONFIG} of {self.name} is {named!r}")
        for file in {INDEX, named} - {WEIGHTS}:
            shards = (self.read(file) or {}).get("weight_map") if file.endswith(".json") else None
            names = shards.values() if isinstance(shards, dict) else ()
            odd = next((shard for shard in names if not str(shard).endswith(".safetensors")), None)
            if odd is not None:
                raise pickled(f"weight_map in {file} of {self.name} names {odd!r}")
        folder = self.folder
        if folder is not None and not any(folder.glob("*.safetensors")):
            held = next((file for file in PICKLES if (folder / file).is_file()), None)
            if held is not None:
                raise pickled(f"{self.name} has its weights in {held} only")


@contextmanager
def model_files(name: str, revision: str | None, note: Warn) -> Iterator[ModelFiles]:
    """The files that `name` means: the default model, a packaged one, a GGUF file, a folder or a
    name on a hub. ModelError if there is nothing of that name."""
    if name.endswith(".gguf"):
        with _alone(Path(name)) as folder:
            where = {"pretrained_model_name_or_path": folder, "gguf_file": Path(name).name}
            yield ModelFiles(name, where)
        return
    yield ModelFiles(name, _where(name, revision, note))


def _where(name: str, revision: str | None, note: Warn) -> dict[str, Any]:
    if name == DEFAULT_MODEL:
        return {"pretrained_model_name_or_path": str(default_model_dir(note))}
    if name in PACKAGED:
        return {"pretrained_model_name_or_path": str(resource_dir("data") / name)}
    path = Path(name)
    if path.is_dir() and not (path / CONFIG).is_file():
        raise ModelError(
            f"the folder {name} holds no {CONFIG}, so it is no transformers model",
            hint="name the folder that save_pretrained wrote, or a .gguf file in it",
        )
    if path.is_file():
        raise ModelError(
            f"{name} is a file: expected a model folder, or a file whose name ends in .gguf, .arpa "
            "or .arpa.gz",
            hint="name the folder of the model; rename an n-gram model in ARPA format",
        )
    if not path.exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ModelError(f"there is no model folder {name}", hint="check the path given to --model")
    found = {"pretrained_model_name_or_path": name}
    return found if path.exists() else found | {"revision": _commit(name, revision or "main")}


def _commit(name: str, revision: str) -> str:
    """The commit that a revision on the hub is now, so that all files are of the same one; the
    revision itself where it can't be found out."""
    from transformers.utils import hub

    # Younger than the oldest transformers that lmfst runs with.
    resolve = getattr(hub, "resolve_revision", None)
    return str(getattr(resolve(name, revision), "resolved", revision)) if resolve else revision


@contextmanager
def _alone(path: Path) -> Iterator[str]:
    """A folder that holds nothing but the GGUF file: the library would take a tokenizer's files
    and a class to load from its neighbours."""
    if not path.is_file():
        raise ModelError(f"there is no GGUF file {path}", hint="check the path given to --model")
    with scratch_folder() as folder:
        _link(Path(folder) / path.name, path.resolve())
        yield folder


def _link(target: Path, file: Path) -> None:
    """Make `target` a link to a file; ModelError where the system makes none."""
    try:
        target.symlink_to(file)
    except OSError:
        try:
            os.link(file, target)
        except OSError as error:
            raise ModelError(
                f"{file} can't be linked to from {target.parent}: {error.strerror or error}",
                hint="set TMPDIR to a folder on the file's own disk",
            ) from error


def not_loaded(what: str, error: Exception) -> ModelError:
    """The error for whatever a loader raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else ""
    return ModelError(
        f"{what} can't be loaded: {reason or type(error).__name__}",
        hint=f"give a model folder, a .gguf or .arpa file, a hub name, {DEFAULT_MODEL!r} or "
        f"{PACKAGED[0]!r}; a damaged file must be copied again",
    )


def _damaged(path: Path, how: str) -> ModelError:
    return ModelError(
        f"{path} is damaged: {how}",
        hint="copy or save it again, or delete it if the model has no such file",
    )


def pickled(what: str) -> ModelError:
    """The error for weights that only a pickle holds. what: where that was seen."""
    return ModelError(
        f"{what}: that is a pickle, which can run code when it is read; lmfst reads safetensors "
        "and GGUF",
        hint="if you trust it, convert it once with transformers: "
        "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(another)",
    )


def _no_vocabulary(name: str, folder: Path) -> ModelError:
    """The error for a model folder that has none of `VOCABULARIES`."""
    hint = "save the model's tokenizer there too: tokenizer.save_pretrained(folder)"
    other = next(iter(sorted((*folder.glob("*.tiktoken"), *folder.glob("rwkv_vocab*.txt")))), None)
    if other is not None and other.suffix == ".tiktoken":
        hint = (
            f"{other.name} is read under the name tokenizer.model, with a tokenizer_config.json "
            "that has its special tokens as added_tokens_decoder"
        )
    elif other is not None:
        hint = (
            f"{other.name} is a vocabulary that only code of the model's own reads; write it as a "
            "tokenizer.json (README, Tokenizers)"
        )
    return ModelError(
        f"the model folder {name} has no tokenizer that transformers can read: expected "
        f"{WHOLE}, {TEKKEN}, a file of SentencePiece or tiktoken ({PIECES[0]}), or a vocabulary "
        "(vocab.json, vocab.txt)",
        hint=hint,
    )
