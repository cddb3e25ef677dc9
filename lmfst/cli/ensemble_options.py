"""The options of ensembles: several models as one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmfst.cli.loading import lm_of, load_model, target_of
from lmfst.cli.model_options import MODEL, LimitOptions, ModelOptions
from lmfst.cli.options import GrammarOptions
from lmfst.cli.terminal import Terminal
from lmfst.ground.errors import UsageError
from lmfst.ground.types import How

if TYPE_CHECKING:
    from lmfst.ensemble import Ensemble
    from lmfst.inference.choose import PolicyChoice
    from lmfst.inference.policy import Policy
    from lmfst.model import TransducedLM


@dataclass(frozen=True)
class EnsembleOptions:
    """See `lmfst.Ensemble`."""

    ensemble: Annotated[
        How | None,
        typer.Option(
            "--ensemble",
            help="Several models as one, each named with a --model of its own; their tokenizers "
            "may differ. mixture: of their distributions over the next symbol; product: of these, "
            "normalised; mixture-of-strings: of their probabilities of whole documents.",
            rich_help_panel=MODEL,
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="W,W",
            help="Weights of the models, with the sum 1, such as 0.5,0.5 (default: equal ones).",
            rich_help_panel=MODEL,
        ),
    ] = None

    def policy(self, model: ModelOptions, choice: PolicyChoice) -> Policy:
        """The policy, as far as it can be told before models are loaded. UsageError for options
        that don't go together."""
        if self.ensemble is None:
            from lmfst.inference.recommend import RECOMMENDED

            suggested = RECOMMENDED.get(model.model)
            if self.weights is not None:
                raise UsageError(
                    "--weights are those of the models of an ensemble",
                    hint="add --ensemble mixture or product, and a --model for each weight",
                )
            return choice.policy(suggested)
        from lmfst.ensemble.model import require_drops, weights_of

        count = len(model.names)
        if count < 2:
            raise UsageError(
                f"--ensemble {self.ensemble} is of at least two models, and there is {count}: "
                f"{model.names[0]}",
                hint="name each with --model: --model A --model B",
            )
        if model.revision is not None:
            raise UsageError(
                "--revision is that of one model, and an ensemble has several",
                hint="name models by their folders",
            )
        weights_of(self._numbers(), count)
        policy = choice.policy()
        require_drops(policy)
        return policy

    def facts(self, model: ModelOptions) -> dict[str, Any]:
        """What decides on the numbers, beside the models; JSON-ready. Nothing of one model."""
        if self.ensemble is None:
            return {}
        from lmfst.ensemble.model import weights_of

        weights = weights_of(self._numbers(), len(model.names))
        return {"ensemble": self.ensemble, "weights": list(weights)}

    def _numbers(self) -> list[float] | None:
        """The weights; UsageError for what are no numbers."""
        if self.weights is None:
            return None
        try:
            return [float(weight) for weight in self.weights.split(",")]
        except ValueError:
            raise UsageError(
                f"--weights {self.weights!r}: expected numbers with commas between, such as 0.5,0.5"
            ) from None

    def each(self, model: ModelOptions) -> list[ModelOptions]:
        """The options of each of the models. UsageError for several without --ensemble."""
        if self.ensemble is None:
            model.require_one()
        return [replace(model, models=[name]) for name in model.names]

    def load(
        self,
        model: ModelOptions,
        to: str,
        grammar: GrammarOptions,
        choice: PolicyChoice,
        limits: LimitOptions,
        terminal: Terminal,
    ) -> TransducedLM | Ensemble:
        """The model, or the models as one, loaded and checked."""
        if self.ensemble is None:
            return load_model(model, to, grammar, choice, limits, terminal)
        from lmfst.ensemble import Ensemble
        from lmfst.model import TransducedLM
        from lmfst.target.load import refuse_as_model

        each = self.each(model)
        for one in each:
            refuse_as_model(one.model)
        target, policy = target_of(to, grammar, terminal), choice.policy()
        how: dict[str, Any] = {"partial": limits.partial, "warn": terminal.warn}
        models = [TransducedLM(lm_of(one, terminal), target, policy, **how) for one in each]
        return Ensemble(models, self._numbers(), self.ensemble)
