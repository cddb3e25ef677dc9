"""A setting after a source text that the model has read: its tokens, and what the function has
emitted by then.

The strings of the new setting are what follows: the function goes on from the state that the text
has brought it to, and the symbols that it has emitted are none of theirs. That is exact
conditioning on the tokens of the prompt, and nothing else changes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from lmfst.fst.pattern import first_string
from lmfst.fst.sequential import begun_at, emit
from lmfst.ground.errors import InputError
from lmfst.inference.normaliser import Normaliser
from lmfst.inference.setting import Setting
from lmfst.inference.token_logps import token_logps
from lmfst.lm.prompted import PromptedLM
from lmfst.target import Reader
from lmfst.target.case import Folded
from lmfst.target.prompts import emitted


def after_source(setting: Setting, reader: Reader, text: bytes) -> Setting:
    """The setting after a text.

    reader: of the setting; letters are read in the case that the model writes, with a warning.
    InputError for a text that the function rejects, that has no tokens or several ways to be
    spelled by a model without a tokenizer, or that the model gives probability zero.
    """
    read = reader.spelled(text, partial(emitted, setting.target))
    if read.folded:
        folded = Folded(read.folded, 1, "the prompt")
        setting.warn(f"{folded.told()} {reader.case('source')}")
    lm = PromptedLM(setting.lm, read.text)
    _require_possible(lm, setting.normalise)
    machine = setting.target.machine
    state, _, _ = emit(machine, read.text)
    target = replace(setting.target, machine=begun_at(machine, state))
    return replace(
        setting,
        lm=lm,
        target=target,
        lexicons=setting.lexicons.after(lm.vocab, target.machine),
        read=setting.read + read.text,
        before=setting.before + first_string(read.target),
    )


def _require_possible(lm: PromptedLM, normalise: Normaliser) -> None:
    """InputError for tokens of probability zero."""
    session = lm.base.session()
    root = session.open()
    states = [root]
    for token in lm.tokens[:-1]:
        states.append(int(session.step(np.array(states[-1:]), np.array([token]))[0]))
    asked = [np.array([token], dtype=np.int64) for token in lm.tokens]
    logps = token_logps(session, normalise, np.array(states, dtype=np.int64), asked)
    for at, (token, logp) in enumerate(zip(lm.tokens, logps, strict=True), start=1):
        if logp[0] == -np.inf:
            raise InputError(
                f"the model gives the prompt probability zero from token {at} on "
                f"({lm.vocab.names[token]!r})",
                hint="nothing can be given what is impossible",
            )
    session.close(root)
