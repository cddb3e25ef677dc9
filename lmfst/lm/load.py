"""From the name that a user gives to a ready language model.

`smollm2-135m` is the default model; `dna` the packaged model of DNA (a folder of that name is
./dna); `FILE.arpa` (or .arpa.gz) an n-gram model; `FILE.gguf` a GGUF file; anything else a
transformers folder or, where there is a network, a hub name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmfst.ground import defaults
from lmfst.ground.errors import ModelError, UsageError
from lmfst.ground.resources import resource_dir
from lmfst.ground.types import DType, PrefixSpace, Specials, Warn, require_choice
from lmfst.lm.base import LM
from lmfst.lm.ends import begin_token, end_tokens
from lmfst.lm.files import PACKAGED, ModelFiles, model_files
from lmfst.lm.known import known_of_files
from lmfst.lm.pretrained import load_config, load_model, load_tokenizer, prepare_library
from lmfst.lm.token_types import token_types, with_types
from lmfst.vocab import Vocab, read_tokenizer, vocab_from_symbols
from lmfst.vocab.words import NO_MARKS, separator_of

if TYPE_CHECKING:
    import torch

    from lmfst.lm.backoff import BackoffLM

ARPA = (".arpa", ".arpa.gz")


def load_lm(
    name: str = defaults.MODEL,
    *,
    bos: str = "auto",
    specials: Specials = "drop",
    prefix_space: PrefixSpace = "auto",
    dtype: DType = "float32",
    device: str = "cpu",
    revision: str | None = None,
    batch_tokens: int | None = None,
    context: int | None = None,
    threads: int | None = None,
    compiled: bool = False,
    separator: str | None = None,
    marks: str = NO_MARKS,
    tree: bool = True,
    warn: Warn = lambda message: None,
    note: Warn = lambda message: None,
) -> LM:
    """Load a language model.

    bos: "auto" (the model's own begin token, see `lmfst.lm.ends`), "none", or a token. specials:
    what special tokens are, see `lmfst.vocab`. prefix_space: whether a space at the very start is
    the model's own and none of the text's: "auto", "yes" or "no", see `lmfst.vocab.prefix`.
    context: read the last so many tokens only, see `lmfst.lm.truncated`. threads: processor threads
    of torch in this process, for whatever uses it (None: as they are). compiled: see
    `lmfst.lm.compiled`. separator, marks: what stands between the tokens of an n-gram model, see
    `lmfst.vocab.words`. tree: evaluate contexts as token trees where the model can.
    warn, note: called with warnings and progress notes.

    Raises ModelError if it can't be loaded, UsageError for a setting outside its range.
    """
    require_choice("--specials", specials, Specials)
    require_choice("--dtype", dtype, DType)
    require_choice("--prefix-space", prefix_space, PrefixSpace)
    if threads is not None:
        _set_threads(threads)
    if name.lower().endswith(ARPA):
        if context is not None:
            raise UsageError(
                "--context is for transformers models; an n-gram model's order says how much it "
                "reads",
                hint="leave --context out: sums under n-gram models are exact with --exact",
            )
        if prefix_space != "auto":
            raise UsageError("--prefix-space is for transformers models: n-gram models have none")
        return _load_arpa(
            name, bos=bos, specials=specials, separator=separator, marks=marks, warn=warn
        )
    if separator is not None or marks != NO_MARKS:
        option = "--separator" if separator is not None else "--marks"
        raise UsageError(
            f"{option} is for n-gram models ({' or '.join(ARPA)}), not {name!r}",
            hint=f"leave {option} out: the model's tokenizer says what stands between its tokens",
        )
    prepare_library()
    from lmfst.lm.compiled import compile_layers
    from lmfst.lm.transformers import TransformersLM
    from lmfst.lm.truncated import TruncatedLM

    if context is not None and context < 1:
        raise UsageError(f"--context must be at least 1, not {context}")
    place = _device(device)
    with model_files(name, revision, note) as files:
        files.check(warn)
        config = load_config(files, warn)
        tokenizer = load_tokenizer(files, config, warn)
        model = load_model(files, config, dtype).to(place).eval()
        rows = _matching_rows(model, tokenizer, files, warn)
        ends = end_tokens(files, tokenizer, model, rows)
        known = known_of_files(files, tokenizer)
        begin = begin_token(files, tokenizer, bos, rows, warn)
        types = token_types(files, tokenizer, rows)
    if compiled:
        note("compiling the model's layers")
        compile_layers(model)
    reading = read_tokenizer(
        tokenizer,
        size=rows,
        eos=ends,
        specials=specials,
        prefix_space=prefix_space,
        known=known,
        warn=warn,
    )
    vocab = with_types(reading.vocab, types, text=specials == "text")
    _refuse_specials(specials, vocab, name)
    facts = {
        "model": name,
        "revision": files.commit or revision,
        "prefix_space": "yes" if reading.prefixed else "no",
    }
    lm = TransformersLM(
        model,
        vocab,
        bos=begin,
        batch_tokens=batch_tokens,
        encode=reading.encode,
        tree=tree,
        facts=facts,
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

    Raises as `load_lm` does, UsageError for another kind of model, ModelError where most tokens are
    no single bytes.
    """
    if name in PACKAGED:
        name = str(resource_dir("data") / name / "markov5.arpa")
    elif not name.lower().endswith(ARPA):
        raise UsageError(
            f"--guide must be an n-gram model, not {name!r}",
            hint=f"give a {' or '.join(ARPA)} file, or {', '.join(PACKAGED)}",
        )
    lm = _load_arpa(name, bos="auto", specials="drop", warn=warn, sums=False)
    texts = [text for text in lm.vocab.token_bytes[0] if text]
    longer = [text for text in texts if len(text) > 1]
    if 2 * len(longer) > len(texts):
        shown = longer[0].decode("utf-8", "replace")
        raise ModelError(
            f"{name}: expected a guide over single bytes, found {len(longer)} of {len(texts)} "
            f"tokens that are longer, such as {shown!r}",
            hint="a guide is a model of letters, such as the A, C, G and T of DNA; a model of "
            "words can be --model (with --separator ' '), but no guide",
        )
    return lm


def _load_arpa(
    name: str,
    *,
    bos: str,
    specials: Specials,
    warn: Warn,
    separator: str | None = None,
    marks: str = NO_MARKS,
    sums: bool = True,
) -> BackoffLM:
    """sums: warn of probabilities that don't sum to 1."""
    from lmfst.lm.arpa import read_arpa
    from lmfst.lm.backoff import BackoffLM
    from lmfst.lm.sums import warn_of_sums

    if bos not in ("auto", "none", "<s>"):
        raise UsageError(f"--bos of an n-gram model is auto, none or <s>, not {bos!r}")
    separator = separator_of(separator, marks)
    model = read_arpa(name, warn=warn)
    vocab = vocab_from_symbols(
        model.names,
        eos=model.eos_ids,
        specials=specials,
        separator=separator,
        marks=marks,
        warn=warn,
    )
    _refuse_specials(specials, vocab, name)
    if sums:
        warn_of_sums(model, vocab, name, warn)
    begins = bos == "<s>" or (bos == "auto" and model.bos_id is not None)
    facts = {"model": name, "revision": None, "separator": separator, "marks": marks}
    return BackoffLM(model, vocab, bos=begins, facts=facts)


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


def _matching_rows(model: Any, tokenizer: Any, files: ModelFiles, warn: Warn) -> int:
    """Rows of the output layer; ModelError if a token of the tokenizer has none.

    Special tokens may lack one, with a warning: Gemma 3's models of text alone have no row for
    their tokenizer's placeholder of an image. Without a warning for a GGUF file, whose tokens are
    as many as its rows: the library adds some of its own where it doesn't find one by its text.
    """
    name = files.name
    head = model.get_output_embeddings()
    rows = 0 if head is None else int(head.weight.shape[0])
    beyond = {i: token for token, i in tokenizer.get_vocab().items() if i >= rows}
    if not beyond:
        return rows
    last = max(beyond)
    known = tokenizer.added_tokens_decoder
    if not all(i in known and known[i].special for i in beyond):
        raise ModelError(
            f"the model and the tokenizer of {name} don't belong together: the output layer has "
            f"{rows} rows, and the tokenizer goes up to id {last} ({beyond[last]!r})",
            hint="copy the tokenizer that the model was saved with; if tokens were added to it, "
            "save the model again after model.resize_token_embeddings(len(tokenizer))",
        )
    if files.gguf:
        return rows
    warn(
        f"the output layer of {name} has {rows} rows, and {len(beyond)} special tokens of its "
        f"tokenizer are beyond ({beyond[last]!r}, id {last}): they have no probability"
    )
    return rows
