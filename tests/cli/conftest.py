"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import ARPA
from tests.support.tiny import write_normalised


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small n-gram model."""
    return write_normalised(ARPA, tmp_path_factory.mktemp("model") / "m.arpa")
