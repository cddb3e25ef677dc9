"""What is done about special tokens where they may have no mass."""

from __future__ import annotations

from lmfst.ground.errors import ModelError
from lmfst.ground.types import Specials
from lmfst.vocab import Vocab


def refuse_specials(specials: Specials, vocab: Vocab, name: str) -> None:
    """ModelError for special tokens under --specials error. name: the model's."""
    if specials == "error" and vocab.specials:
        shown = ", ".join(vocab.names[i] for i in sorted(vocab.specials)[:5])
        raise ModelError(
            f"{name} has {len(vocab.specials)} special tokens ({shown}, …), and --specials "
            "error was given",
            hint="use --specials drop to take them out of the support, or text to read them",
        )
