"""What scores a corpus, and what tells one job from another: models, targets and policies, known by
what they are and not by what they are called."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmfst.cli import options as o
from lmfst.cli.ensemble_options import EnsembleOptions
from lmfst.cli.loading import choice_of, lm_of, suggests, target_of
from lmfst.cli.model_options import LimitOptions, ModelOptions, PolicyOptions, SamplingOptions
from lmfst.cli.terminal import Terminal
from lmfst.ground.kernels import compiled

if TYPE_CHECKING:
    from lmfst.ensemble import Ensemble
    from lmfst.inference.choose import PolicyChoice
    from lmfst.inference.policy import Policy
    from lmfst.model import TransducedLM

MODEL_FILES, FST = "model files", "transducer"
"""Names in the fingerprint."""


def machine_facts(device: str) -> dict[str, str]:
    """What numbers depend on in their last digits."""
    from lmfst.corpus.ray_actor import LIBRARIES

    libraries = {name: version(name) for name in (*LIBRARIES, "tokenizers", "accelerate")}
    kernels = "compiled" if compiled() else "plain Python"
    return {"device": device, "processor": platform.machine(), **libraries, "kernels": kernels}


def _digest(path: str) -> str:
    """Of a file of a model. Large ones aren't known by the time of their change, as a corpus is:
    each machine of a cluster may have a copy."""
    from lmfst.corpus.inputs import WHOLE, look
    from lmfst.lm.identity import content_digest

    large = os.path.isfile(path) and os.path.getsize(path) > WHOLE
    return f"parts:{content_digest(Path(path))}" if large else look([path])[0].digest


@dataclass(frozen=True)
class Loading:
    """The options that say what scores."""

    model: ModelOptions
    to: str
    grammar: o.GrammarOptions
    policy_options: PolicyOptions
    sampling: SamplingOptions
    limits: LimitOptions
    ensemble: EnsembleOptions

    def choice(self) -> PolicyChoice:
        """The choice of a policy."""
        suggestible = suggests(self.model, self.limits)
        return choice_of(self.policy_options, self.limits, self.sampling, suggestible=suggestible)

    def policy(self, *, suggested: bool = True) -> Policy:
        """The policy, as far as it can be told without the model. suggested: whether the target is
        one for which the model suggests one."""
        choice = self.choice()
        return self.ensemble.policy(self.model, choice) if suggested else choice.policy()

    def load(self, model: ModelOptions, terminal: Terminal) -> TransducedLM | Ensemble:
        """What scores. model: the options of the model, perhaps with other threads."""
        choice = self.choice()
        return self.ensemble.load(model, self.to, self.grammar, choice, self.limits, terminal)

    def model_files(self, terminal: Terminal) -> list[list[str]]:
        """The files that make each of the models what it is."""
        return [_files(model, terminal) for model in self.ensemble.each(self.model)]

    def batch_tokens(self, model_files: list[list[str]]) -> int:
        """Token positions of a call, whatever memory is free: numbers depend on it."""
        from lmfst.corpus import visible_gpus
        from lmfst.lm.memory import tokens_by_files
        from lmfst.lm.spread import is_map

        device = self.model.device
        on_cpu = not visible_gpus(os.environ) if is_map(device) else device == "cpu"
        own = (tokens_by_files(paths, on_cpu=on_cpu) for paths in model_files)
        return self.model.batch_tokens or min(own)

    def digests(self, model_files: list[list[str]]) -> list[str]:
        """Of the models' files, and of that of the guide."""
        guide = self.sampling.guide
        own = [guide] if guide and os.path.isfile(guide) else []
        return [_digest(path) for path in (*chain(*model_files), *own)]

    def identity(self, model_files: list[list[str]], terminal: Terminal) -> dict[str, Any]:
        """What decides on the numbers: all options but those of speed, and what model and target
        are, apart from the names of files."""
        machine = {"models", "threads", "batch_tokens", "device"}
        said = {
            **{name: value for name, value in asdict(self.model).items() if name not in machine},
            **self._named(),
            MODEL_FILES: self.digests(model_files),
            FST: target_of(self.to, self.grammar, terminal).machine.digest,
            **self._policy(),
            **self.ensemble.facts(self.model),
            "partial": self.limits.partial,
        }
        return {name: value for name, value in said.items() if name not in self.named()}

    def _named(self) -> dict[str, str]:
        guide, names = self.sampling.guide, self.model.names
        models = {"model": names[0]}
        if len(names) > 1:
            models = {f"model {number}": name for number, name in enumerate(names, start=1)}
        return {**models, "to": self.to} | ({"guide": guide} if guide else {})

    def named(self) -> dict[str, str]:
        """What is called by the name of a file, which others may have, too: it is known by its
        content."""
        return {name: value for name, value in self._named().items() if _is_file(value)}

    def _policy(self) -> dict[str, Any]:
        """The policy that options lead to, however they are given."""
        from lmfst.inference.recommend import RECOMMENDED

        suggested = RECOMMENDED.get(self.model.names[0])
        policy = self.policy().describe()
        # Whether it is followed is up to the target, which the job has, too.
        return policy | ({"policy": "auto"} if self.choice().follows(suggested) else {})


def _files(model: ModelOptions, terminal: Terminal) -> list[str]:
    """The files that make a model what it is."""
    from lmfst.lm.load import model_paths

    found = model_paths(model.model, model.revision, terminal.note)
    if not any(path.endswith((".safetensors", ".gguf", ".arpa", ".gz")) for path in found):
        # Of a hub, and not here yet: loading fetches it.
        lm_of(model, terminal)
        found = model_paths(model.model, model.revision, terminal.note)
    return found


def _is_file(name: str) -> bool:
    """Whether a model, a target (of a grammar perhaps FILE:RULE) or a guide is one of the user's
    own files or folders."""
    return os.path.exists(name) or (":" in name and os.path.isfile(name.rpartition(":")[0]))
