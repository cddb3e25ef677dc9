"""The shipped files are found from a checkout and from an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmfst.ground import resources
from lmfst.ground.errors import LmfstError
from lmfst.ground.resources import resource_dir
from lmfst.io import read_documents


def test_the_sample_is_found_and_as_described() -> None:
    documents = list(read_documents(str(resource_dir("data") / "sample.txt"), warn=pytest.fail))
    assert 5 <= len(documents) <= 8
    assert all(200 <= len(document.text) <= 350 for document in documents)
    assert any("é" in d.text.decode() or "—" in d.text.decode() for d in documents)


def test_installed_comes_first_and_a_stranger_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lmfst"
    (tmp_path / "data").mkdir()
    package.mkdir()
    monkeypatch.setattr(resources, "__file__", str(package / "ground" / "resources.py"))
    with pytest.raises(LmfstError, match="expected the folder data"):
        resource_dir("data")
    (tmp_path / "pyproject.toml").touch()
    assert resource_dir("data") == tmp_path / "data"
    (package / "data").mkdir()
    assert resource_dir("data") == package / "data"
