"""The transformers library's loaders, kept from running anything that a model's files name.

No code of a model's own (`auto_map`), no kernels from a hub (`use_kernels`, names of attention or
expert implementations, quantised formats), no pickles. A model whose architecture the library has
itself is loaded as that, with a warning; one that needs its own code is an error. Quantised weights
are `lmfst.lm.quantised`'s.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from logging import ERROR, getLogger
from typing import TYPE_CHECKING, Any

from lmfst.ground.errors import ModelError
from lmfst.ground.temporary import scratch_folder
from lmfst.ground.types import DType, Warn
from lmfst.lm import quantised
from lmfst.lm.devices import dtype_named
from lmfst.lm.files import CONFIG, TOKENIZER, ModelFiles, not_loaded, pickled
from lmfst.lm.memory import out_of_memory
from lmfst.lm.spread import Spread
from lmfst.lm.tokenizer_files import require_text, why_not_read

if TYPE_CHECKING:
    import torch


def prepare_library() -> None:
    """Keep the library's progress bars and advice off the terminal, and hub kernels out of it."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["USE_HUB_KERNELS"] = "NO"
    # Else weights that a hub's robot converts are taken from another revision than asked for.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    from transformers import dynamic_module_utils
    from transformers.integrations import hub_kernels
    from transformers.utils import import_utils, logging

    # An error in place of the question on stdout, for configurations inside others, too.
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    for module in (hub_kernels, import_utils):
        # All ways to a kernel ask this; several of them ask no setting.
        setattr(module, "is_kernels_available", _no_kernels)  # noqa: B010
    logging.set_verbosity_error()
    getLogger("accelerate").setLevel(ERROR)
    logging.disable_progress_bar()


def _no_kernels(*_: Any, **__: Any) -> bool:
    return False


def load_config(files: ModelFiles, warn: Warn) -> Any:
    """The model's configuration, without what it says about how to compute."""
    from transformers import AutoConfig, AutoModelForCausalLM

    quantised.require_readable(files, warn)
    own = _own_code(files, CONFIG, ("AutoConfig", "AutoModelForCausalLM"))
    try:
        config = AutoConfig.from_pretrained(**files.where, trust_remote_code=False)
        known = type(config) in AutoModelForCausalLM._model_mapping
    except Exception as error:  # any failure of the loader is a model that can't be loaded
        if own:
            raise _needs_code(files, CONFIG, own) from error
        raise not_loaded(f"the configuration of {files.name}", error) from error
    if own and not known:
        raise _needs_code(files, CONFIG, own)
    if own:
        warn(
            f"{CONFIG} of {files.name} names code of its own (auto_map: {own}), which is not run: "
            f"the numbers are those of transformers' own {config.model_type} model"
        )
    _warn_of_kernels(files, warn)
    # The setters reach the configurations inside this one.
    config._attn_implementation = None
    config._experts_implementation = None
    config.return_dict = True
    if getattr(config, "fusion_config", None) is not None:
        config.fusion_config = None
    return config


def load_tokenizer(files: ModelFiles, config: Any, warn: Warn) -> Any:
    """The model's tokenizer, of a class that the library has."""
    from transformers import AutoTokenizer, PreTrainedTokenizerBase
    from transformers.models.auto import tokenization_auto as module
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    for file in (TOKENIZER, CONFIG):
        own = _own_code(files, file, ("AutoTokenizer",))
        if not own:
            continue
        named = (files.read(TOKENIZER) or {}).get("tokenizer_class")
        if not isinstance(named, str) or tokenizer_class_from_name(named) is None:
            raise _needs_code(files, file, own)
        warn(
            f"{file} of {files.name} names code of its own (auto_map: {own}), which is not run: "
            f"the tokenizer is transformers' own {named}"
        )
    _require_tokenizer_classes(files, config)
    # The library's own reading of Tekken, whether or not mistral-common is installed.
    own_reading = {"mistral_format": False} if hasattr(module, "_use_mistral_format") else {}
    try:
        found = AutoTokenizer.from_pretrained(
            **files.where, **own_reading, config=config, trust_remote_code=False
        )
    except Exception as error:  # as above
        what = f"the tokenizer of {files.name}"
        raise why_not_read(files, error) or not_loaded(what, error) from error
    if not isinstance(found, PreTrainedTokenizerBase):
        raise _no_tokenizer(files, "its files", type(found).__name__)
    require_text(files, found)
    return found


def _require_tokenizer_classes(files: ModelFiles, config: Any) -> None:
    """ModelError if a file names another class of the library as the tokenizer's, whose
    `from_pretrained` would be called."""
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
    from transformers.utils.import_utils import DummyObject

    named = {
        TOKENIZER: (files.read(TOKENIZER) or {}).get("tokenizer_class"),
        CONFIG: getattr(config, "tokenizer_class", None),
    }
    for file, name in named.items():
        if not name:
            continue
        if not isinstance(name, str):
            raise _no_tokenizer(files, file, name)
        try:
            kinds = [tokenizer_class_from_name(n) for n in (name, f"{name}Fast")]
        except Exception as error:  # what importing a part of the library raised
            raise not_loaded(f"the tokenizer of {files.name}", error) from error
        for kind in kinds:
            # A class that stands for a missing library says so when it is used.
            if kind is None or isinstance(kind, DummyObject):
                continue
            if not isinstance(kind, type) or not issubclass(kind, PreTrainedTokenizerBase):
                raise _no_tokenizer(files, file, name)


def _no_tokenizer(files: ModelFiles, where: str, named: Any) -> ModelError:
    return ModelError(
        f"tokenizer_class of {files.name} is {named!r} in {where}: expected the name of a "
        "tokenizer's class",
        hint="correct it there, or copy the tokenizer again",
    )


def load_model(files: ModelFiles, config: Any, dtype: DType, place: torch.device | Spread) -> Any:
    """The model, its weights complete. dtype: see `lmfst.lm.devices.dtype_named`. place: the device
    that it is on, or those that it is spread over."""
    from transformers import AutoModelForCausalLM

    safe: dict[str, Any] = {} if files.gguf else {"use_safetensors": True}
    over: dict[str, Any] = {}
    if isinstance(place, Spread):
        over = {"device_map": "auto", "max_memory": place.room(), "offload_folder": _beside()}
    wanted = dtype_named(dtype, config, gguf=files.gguf)
    weights = quantised.Weights(config, wanted, place)
    try:
        # With the configuration given, its keys can't take the place of these arguments.
        model, report = AutoModelForCausalLM.from_pretrained(
            **files.where,
            **safe,
            **over,
            **weights.arguments,
            config=config,
            dtype=weights.dtype,
            trust_remote_code=False,
            use_kernels=False,
            output_loading_info=True,
        )
    except Exception as error:  # as above
        if "use_safetensors" in str(error):
            raise pickled(f"{files.name} has no weights in safetensors") from error
        raise not_loaded(f"the model {files.name}", error) from error
    absent = sorted({*report["missing_keys"], *map(str, report["mismatched_keys"])})
    if absent:
        # transformers would fill them with random numbers.
        raise ModelError(
            f"the weights of {files.name} lack {len(absent)} tensors that its configuration asks "
            f"for: {absent[0]}, …",
            hint="the files may be incomplete or belong to another model: copy or save them again",
        )
    try:
        return weights.settled(model)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise ModelError(
            f"{files.name} doesn't fit into the memory that is free on {place}",
            hint="use --device cpu, --device map for all devices, or --dtype bfloat16",
        ) from error


def _beside() -> str:
    """A folder for weights that can't be read where they are; gone when the process ends."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(scratch_folder())


def _own_code(files: ModelFiles, file: str, classes: tuple[str, ...]) -> str:
    """What `auto_map` in a file names for any of these classes, "" if it doesn't."""
    named = (files.read(file) or {}).get("auto_map")
    if isinstance(named, dict):
        named = next((named[kind] for kind in classes if named.get(kind)), None)
    if isinstance(named, list | tuple):
        named = next((part for part in named if part), None)
    return "" if named is None else str(named)


def _needs_code(files: ModelFiles, file: str, own: str) -> ModelError:
    return ModelError(
        f"{files.name} needs code of its own ({own}, named by auto_map in its {file}), and lmfst "
        "runs no code out of models",
        hint="use a model of an architecture, and with a tokenizer, that transformers has itself; "
        "a newer transformers may have it",
    )


def _warn_of_kernels(files: ModelFiles, warn: Warn) -> None:
    config = files.read(CONFIG) or {}
    keys = ("attn_implementation", "_attn_implementation", "experts_implementation")
    asked = [key for key in keys if "/" in str(config.get(key))]
    asked += [key for key in ("use_kernels", "kernel_config", "fusion_config") if config.get(key)]
    if asked:
        warn(
            f"{', '.join(asked)} in {CONFIG} of {files.name} is passed over: lmfst runs no kernels "
            "from a hub, and computes attention itself"
        )
