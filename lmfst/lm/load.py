"""From the name that a user gives to a ready language model.

`smollm2-135m` is the default model; `dna` the packaged model of DNA (a folder of that name is
./dna); `FILE.arpa` (or .arpa.gz) an n-gram model; `FILE.gguf` a GGUF file; anything else a
transformers folder or, where there is a network, a hub name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from lmfst import defaults
from lmfst.errors import ModelError, UsageError
from lmfst.lm.base import LM
from lmfst.lm.default import DEFAULT_MODEL, default_model_dir
from lmfst.resources import resource_dir
from lmfst.vocab import Vocab, vocab_from_symbols, vocab_from_tokenizer

if TYPE_CHECKING:
    import torch

    from lmfst.lm.backoff import BackoffLM

Warn = Callable[[str], None]
Specials = Literal["drop", "text", "error"]
DTYPES = ("float32", "bfloat16", "float16")
SPECIALS = ("drop", "text", "error")
ARPA = (".arpa", ".arpa.gz")
PACKAGED = ("dna",)
"""Names of the model folders among the shipped data."""


def load_lm(
    name: str = defaults.MODEL,
    *,
    bos: str = "auto",
    specials: str = "drop",
    dtype: str = "float32",
    device: str = "cpu",
    revision: str | None = None,
    batch_tokens: int | None = None,
    context: int | None = None,
    threads: int | None = None,
    compiled: bool = False,
    tree: bool = True,
    warn: Warn = lambda message: None,
    note: Warn = lambda message: None,
) -> LM:
    """Load a language model.

    bos: "auto" (the model's own begin token), "none", or a token. specials: what special tokens
    are, see `lmfst.vocab`. context: read the last so many tokens only, see `lmfst.lm.truncated`.
    threads: processor threads of torch in this process, for whatever uses it (None: as they are).
    compiled: see `lmfst.lm.compiled`. tree: evaluate contexts as token trees where the model can.
    warn, note: called with warnings and progress notes.

    Raises ModelError if it can't be loaded, UsageError for a setting outside its range.
    """
    if specials not in SPECIALS:
        raise UsageError(f"--specials must be one of {', '.join(SPECIALS)}, not {specials!r}")
    if dtype not in DTYPES:
        raise UsageError(f"--dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if threads is not None:
        _set_threads(threads)
    kind = cast(Specials, specials)
    if name.endswith(ARPA):
        if context is not None:
            raise UsageError(
                "--context is for transformers models; an n-gram model's order says how much it "
                "reads",
                hint="leave --context out: sums under n-gram models are exact with --exact",
            )
        return _load_arpa(name, bos=bos, specials=kind, warn=warn)
    _quiet_libraries()
    from lmfst.lm.compiled import compile_layers
    from lmfst.lm.transformers import TransformersLM
    from lmfst.lm.truncated import TruncatedLM

    if context is not None and context < 1:
        raise UsageError(f"--context must be at least 1, not {context}")
    place = _device(device)
    where = _where(name, revision, note)
    tokenizer = _load_tokenizer(name, where)
    model = _load_model(name, where, dtype).to(place).eval()
    if compiled:
        note("compiling the model's layers")
        compile_layers(model)
    vocab = vocab_from_tokenizer(
        tokenizer, size=_rows(model), eos=_eos(model, tokenizer, name), specials=kind, warn=warn
    )
    _refuse_specials(kind, vocab, name)
    lm = TransformersLM(
        model,
        vocab,
        bos=_bos(tokenizer, bos, name),
        batch_tokens=batch_tokens,
        tokenizer=tokenizer,
        tree=tree,
        facts={"model": name, "revision": revision or getattr(model.config, "_commit_hash", None)},
        warn=warn,
    )
    if context is None:
        return lm
    note(
        f"{name} is read with its last {context} token{'s' if context > 1 else ''} only; sums are "
        "those of that truncated model"
    )
    return TruncatedLM(lm, context)


def load_guide(name: str, *, warn: Warn) -> BackoffLM:
    """The n-gram model that a guide's name means: a file, or the one packaged with a model.

    Raises as `load_lm` does, UsageError for another kind of model.
    """
    if name in PACKAGED:
        name = str(resource_dir("data") / name / "markov5.arpa")
    elif not name.endswith(ARPA):
        raise UsageError(
            f"--guide must be an n-gram model, not {name!r}",
            hint=f"give a {' or '.join(ARPA)} file, or {', '.join(PACKAGED)}",
        )
    return _load_arpa(name, bos="auto", specials="drop", warn=warn)


def _load_arpa(name: str, *, bos: str, specials: Specials, warn: Warn) -> BackoffLM:
    from lmfst.lm.arpa import read_arpa
    from lmfst.lm.backoff import BackoffLM

    if bos not in ("auto", "none", "<s>"):
        raise UsageError(f"--bos of an n-gram model is auto, none or <s>, not {bos!r}")
    model = read_arpa(name)
    vocab = vocab_from_symbols(model.names, eos=model.eos_ids, specials=specials, warn=warn)
    _refuse_specials(specials, vocab, name)
    begins = bos == "<s>" or (bos == "auto" and model.bos_id is not None)
    return BackoffLM(model, vocab, bos=begins, facts={"model": name, "revision": None})


def _refuse_specials(specials: Specials, vocab: Vocab, name: str) -> None:
    if specials == "error" and vocab.specials:
        shown = ", ".join(vocab.names[i] for i in sorted(vocab.specials)[:5])
        raise ModelError(
            f"{name} has {len(vocab.specials)} special tokens ({shown}, …), and --specials "
            "error was given",
            hint="use --specials drop to take them out of the support, or text to read them",
        )


def _set_threads(number: int) -> None:
    if number < 1:
        raise UsageError(f"--threads must be at least 1, not {number}")
    import torch

    torch.set_num_threads(number)


def _quiet_libraries() -> None:
    """Keep progress bars and advice of the loaders off the terminal: stderr carries our messages
    only.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {name!r} can't be used here: {reason}",
            hint="use cpu, or a device that this installation of torch sees, such as cuda or mps",
        ) from None
    return device


def _where(name: str, revision: str | None, note: Warn) -> dict[str, Any]:
    """Arguments that make transformers' from_pretrained load `name`."""
    if name == DEFAULT_MODEL:
        return {"pretrained_model_name_or_path": str(default_model_dir(note))}
    if name in PACKAGED:
        return {"pretrained_model_name_or_path": str(resource_dir("data") / name)}
    path = Path(name)
    if name.endswith(".gguf"):
        if not path.is_file():
            raise ModelError(
                f"there is no GGUF file {name}", hint="check the path given to --model"
            )
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(
            f"the folder {name} holds no config.json, so it is no transformers model",
            hint="name the folder that save_pretrained wrote, or a .gguf file in it",
        )
    if not path.exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ModelError(f"there is no model folder {name}", hint="check the path given to --model")
    return {"pretrained_model_name_or_path": name, "revision": revision or "main"}


def _load_tokenizer(name: str, where: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    folder = Path(where["pretrained_model_name_or_path"])
    if folder.is_dir() and "gguf_file" not in where and not _has_tokenizer(folder):
        raise ModelError(
            f"the model folder {name} has no tokenizer (tokenizer.json or a vocabulary file)",
            hint="save the model's tokenizer there too: tokenizer.save_pretrained(folder)",
        )
    try:
        return AutoTokenizer.from_pretrained(**where)
    except Exception as error:  # any failure of the loader is a model that can't be loaded
        raise _not_loaded(f"the tokenizer of {name}", error) from error


def _has_tokenizer(folder: Path) -> bool:
    known = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
    return any((folder / file).is_file() for file in known)


def _load_model(name: str, where: dict[str, Any], dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            **where, dtype=getattr(torch, dtype), output_loading_info=True
        )
    except Exception as error:  # as above: whatever the loader raised, the model can't be used
        raise _not_loaded(f"the model {name}", error) from error
    absent = sorted({*report["missing_keys"], *map(str, report["mismatched_keys"])})
    if absent:
        # transformers would fill them with random numbers.
        raise ModelError(
            f"the weights of {name} lack {len(absent)} tensors that its configuration asks for: "
            f"{absent[0]}, …",
            hint="the files may be incomplete or belong to another model: copy or save them again",
        )
    return model


def _not_loaded(what: str, error: Exception) -> ModelError:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ModelError(
        f"{what} can't be loaded: {reason.strip()}",
        hint=f"give a model folder, a .gguf or .arpa file, a hub name, {DEFAULT_MODEL!r} or "
        f"{PACKAGED[0]!r}; a damaged file must be copied again",
    )


def _rows(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _eos(model: Any, tokenizer: Any, name: str) -> list[int]:
    """EOS ids: those of the generation config, else the tokenizer's."""
    found = getattr(model.generation_config, "eos_token_id", None)
    if found is None:
        found = tokenizer.eos_token_id
    if found is None:
        raise ModelError(
            f"{name} names no end-of-text token, so no string of it ever ends",
            hint="set eos_token_id in the folder's generation_config.json",
        )
    return [int(i) for i in (found if isinstance(found, list | tuple) else [found])]


def _bos(tokenizer: Any, bos: str, name: str) -> int | None:
    if bos == "none":
        return None
    if bos == "auto":
        if tokenizer.bos_token_id is None:
            raise ModelError(
                f"{name} has no begin-of-text token to put before the first token",
                hint="name one with --bos TOKEN (often the end-of-text token), or say --bos none: "
                "then the first token is taken as uniform",
            )
        return int(tokenizer.bos_token_id)
    found = tokenizer.convert_tokens_to_ids(bos)
    if found is None or tokenizer.convert_ids_to_tokens(found) != bos:
        raise UsageError(
            f"--bos {bos!r} is no token of {name}", hint="give a token as the vocabulary writes it"
        )
    return int(found)
