"""The tokens that begin and end a text, as a model's files name them.

What a class of configurations has by default counts for nothing; what a class of tokenizers has,
counts (GPT2Tokenizer: <|endoftext|>, where no file names another). A chat template is read as text
and never rendered (`lmfst.lm.chat`).
"""

from __future__ import annotations

from typing import Any

from lmfst.ground.errors import ModelError, UsageError
from lmfst.ground.types import Warn
from lmfst.lm.chat import opens_a_role
from lmfst.lm.files import CONFIG, GENERATION, ModelFiles
from lmfst.lm.gguf_file import BEGIN, gguf_value

BEGINNINGS = (
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<｜begin▁of▁sentence｜>",
    "<s>",
    "<bos>",
    "[BOS]",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
)
"""What plain text follows in the pretraining of models that have it, likeliest first."""


def end_tokens(files: ModelFiles, tokenizer: Any, model: Any, rows: int) -> list[int]:
    """Ids of the tokens that end a text: those that generation_config.json lists; without that
    file, config.json; else the tokenizer's.

    ModelError if there is none, or one that isn't an id of the tokenizer.
    """
    source, found = _named_ends(files, tokenizer, model)
    if found is None:
        source, found = "the tokenizer", tokenizer.eos_token_id
    if found is None:
        raise ModelError(
            f"{files.name} names no end-of-text token, so no string of it ever ends",
            hint="set tokenizer.ggml.eos_token_id in the file's metadata"
            if files.gguf
            else f"set eos_token_id in the folder's {GENERATION}",
        )
    ids = found if isinstance(found, list) else [found]
    if not ids or not all(_is_token(i, tokenizer, rows) for i in ids):
        raise _no_id(files, source, "eos_token_id", found, "a token's id or a list of some")
    return list(ids)


def _named_ends(files: ModelFiles, tokenizer: Any, model: Any) -> tuple[str, Any]:
    """(where, what) a model's files say of end tokens; None if they don't."""
    if files.gguf:
        # Where the file names none, the library's class does: that counts for nothing.
        config = model.generation_config.eos_token_id
        return "the file's metadata", None if tokenizer.eos_token_id is None else config
    generation = files.read(GENERATION) or {}
    if generation.get("eos_token_id") is not None:
        return GENERATION, generation["eos_token_id"]
    config = files.read(CONFIG) or {}
    inner: Any = next(
        (config[k] for k in ("decoder", "generator", "text_config") if config.get(k)), {}
    )
    found = config.get("eos_token_id")
    if found is None and isinstance(inner, dict):
        found = inner.get("eos_token_id")
    return CONFIG, found


def begin_token(files: ModelFiles, tokenizer: Any, bos: str, rows: int, warn: Warn) -> int | None:
    """The id of the token before the first one, None for none.

    bos: "none", a token, or "auto": the tokenizer's; without one, the special token that
    generation_config.json or config.json names. A chat marker gets a warning.
    """
    if bos == "none":
        return None
    if bos != "auto":
        return _given(files, tokenizer, bos, rows)
    found = tokenizer.bos_token_id
    if files.gguf_path is not None:
        # The library looks the token up by its text, which may be written otherwise in a file.
        found = gguf_value(files.gguf_path, BEGIN)
    if found is None:
        found = _named_begin(files, tokenizer, rows)
    if found is None:
        raise ModelError(
            f"{files.name} has no begin-of-text token to put before the first token",
            hint="name one with --bos TOKEN (often the end-of-text token), or say --bos none: "
            "then the first token is taken as uniform",
        )
    if not 0 <= found < rows:
        raise ModelError(
            f"the begin-of-text token of {files.name} has the id {found}, and its model has {rows} "
            "rows",
            hint="copy the tokenizer that the model was saved with, or name another token with "
            "--bos TOKEN",
        )
    _warn_of_chat(files.name, tokenizer, int(found), warn)
    return int(found)


def _given(files: ModelFiles, tokenizer: Any, bos: str, rows: int) -> int:
    found = tokenizer.convert_tokens_to_ids(bos)
    if found is None or tokenizer.convert_ids_to_tokens(found) != bos:
        raise UsageError(
            f"--bos {bos!r} is no token of {files.name}",
            hint="give a token as the vocabulary writes it",
        )
    if not 0 <= found < rows:
        raise UsageError(
            f"--bos {bos!r} has the id {found}, and the model of {files.name} has {rows} rows",
            hint="give a token that the model can read, or say --bos none",
        )
    return int(found)


def _named_begin(files: ModelFiles, tokenizer: Any, rows: int) -> int | None:
    """The special token that the model's files name as its begin token."""
    special = _special_tokens(tokenizer)
    for file in (GENERATION, CONFIG):
        found = (files.read(file) or {}).get("bos_token_id")
        if found is not None and not _is_token(found, tokenizer, rows):
            raise _no_id(files, file, "bos_token_id", found, "a token's id")
        if found in special:
            return int(found)
    return None


def _no_id(files: ModelFiles, source: str, key: str, found: Any, wanted: str) -> ModelError:
    return ModelError(
        f"{key} of {files.name} is {found!r} in {source}: expected {wanted}",
        hint=f"correct it in {source}, or copy the model again",
    )


def _is_token(value: Any, tokenizer: Any, rows: int) -> bool:
    if type(value) is not int or not 0 <= value < rows:
        return False
    return tokenizer.convert_ids_to_tokens(value) is not None


def _special_tokens(tokenizer: Any) -> dict[int, str]:
    found = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    ids = tokenizer.all_special_ids
    return found | dict(zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True))


def _warn_of_chat(name: str, tokenizer: Any, bos: int, warn: Warn) -> None:
    template, token = _template(tokenizer), tokenizer.convert_ids_to_tokens(bos)
    if not opens_a_role(template, token, bos == tokenizer.bos_token_id):
        return
    special = set(_special_tokens(tokenizer).values()) - {token}
    others = [t for t in BEGINNINGS if t in special and not opens_a_role(template, t, False)]
    better = (
        f"--bos '{others[0]}', likely what plain text followed in its pretraining, is the better "
        "choice"
        if others
        else "with --bos, name the token that plain text followed in its pretraining (see its "
        "description), or none"
    )
    warn(
        f"{name} begins a text with {token}, which its chat template puts before a role: after it "
        f"the model expects one, so plain text gets too low a probability; {better}"
    )


def _template(tokenizer: Any) -> str:
    found = getattr(tokenizer, "chat_template", None)
    return "\n".join(map(str, found.values())) if isinstance(found, dict) else str(found or "")
