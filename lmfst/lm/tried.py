"""What was tried out of a transformers model, as a verdict that is kept for the next start.

What `lmfst.lm.checks` and `lmfst.lm.head` find is three facts: whether contexts must be read alone,
whether the last layer can be used apart, whether the model takes token trees. They are kept
(`lmfst.ground.verdicts`) for the same files of the model (`lmfst.lm.identity`), read the same way
by the same versions on the same kind of device. A model that fails a check isn't kept. A verdict
says how the model is run and nothing of its numbers, so these are the same either way.
"""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmfst.ground.stamps import stamp
from lmfst.ground.verdicts import remembered
from lmfst.lm import checks
from lmfst.lm.head import Head, find_head
from lmfst.lm.spread import places

if TYPE_CHECKING:
    import torch

CHECK = "how a model is read"
NOT_ASKED = "not asked for"
"""What speaks against token trees where nobody wants them."""


@dataclass(frozen=True)
class Verdict:
    """alone: contexts are read each by itself. head: the last layer is used apart from the rest.
    against: what speaks against token trees, "" for nothing."""

    alone: bool
    head: bool
    against: str


class Tried(checks.Tried, Protocol):
    """What is tried out, and what a verdict depends on."""

    dtype: torch.dtype

    def use_head(self, head: Head | None) -> None:
        """Have rows made by the last layer apart from the rest, or by the whole model (None)."""


def try_out(lm: Tried, identity: str | None, *, trees: bool) -> Verdict:
    """Try a model out, or take what is known of it, and make it ready: its head is set and its
    attention switched as the verdict says, and what it can't do is told by `lm.warn`.

    identity: of the model's files; None: nothing is kept. trees: whether token trees are asked for.

    Raises ModelError for a model that can't be used.
    """

    def find() -> dict[str, Any]:
        return asdict(_find(lm, trees))

    about = None if identity is None else _about(lm, identity, trees)
    if about is None:
        found = find()
    else:
        found = remembered(CHECK, about, find, doing="trying out the model", fits=_is_verdict)
    verdict = Verdict(**found)
    lm.alone = verdict.alone
    lm.use_head(output_head(lm.model) if verdict.head else None)
    if verdict.against == "":
        checks.use_trees(lm.model)
    _warn(lm, verdict)
    return verdict


def _find(lm: Tried, trees: bool) -> Verdict:
    checks.require_finite_weights(lm.model, lm.vocab)
    known = checks.known_rows(lm)
    head = find_head(lm.model, checks.begun(lm, max(known, key=len)))
    lm.use_head(head)
    against = checks.why_no_trees(lm, known) if trees else NOT_ASKED
    return Verdict(lm.alone, head is not None, against)


def _about(lm: Tried, identity: str, trees: bool) -> list[str] | None:
    """What a verdict depends on; None where it isn't known."""
    import torch
    import transformers

    with suppress(OSError):
        sources = stamp(Path(__file__).parent.glob("*.py"))
        if sources is not None:
            device = f"{lm.device.type} {places(lm.model) or ''}"
            on_gpu = lm.device.type == "cuda"
            name = torch.cuda.get_device_name(lm.device) if on_gpu else _processor()
            facts = (
                identity, sources, type(lm.model).__name__, lm.vocab.digest, lm.bos,
                lm.context_length, trees, lm.dtype, device, name, torch.__version__,
                transformers.__version__, torch.get_float32_matmul_precision(),
            )  # fmt: skip
            return [str(fact) for fact in facts]
    return None


def _processor() -> str:
    """The kind of processor, as far as torch has other code for it."""
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _is_verdict(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == {"alone", "head", "against"}
        and isinstance(found["alone"], bool)
        and isinstance(found["head"], bool)
        and isinstance(found["against"], str)
    )


def output_head(model: Any) -> Head:
    """The last layer of a model of which `find_head` found that it can be used apart."""
    layer = model.get_output_embeddings()
    bias = layer.bias
    return Head(model.base_model, layer.weight.detach(), None if bias is None else bias.detach())


def _warn(lm: Tried, verdict: Verdict) -> None:
    kind = type(lm.model).__name__
    if verdict.alone:
        lm.warn(
            f"{kind} lets contexts of a call change each other's probabilities; every context is "
            "read alone: runs are many times slower"
        )
    elif verdict.against not in ("", NOT_ASKED):
        lm.warn(
            f"{kind} can't be evaluated as a token tree ({verdict.against}); every context is "
            "read whole: results are the same, runs are many times slower"
        )
