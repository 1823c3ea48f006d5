"""Signers whose keys are made anew for the tests."""

from pathlib import Path

import pytest
from certificates import ROOT, write_chain

from openimagen.safety.credentials import Signer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the self-made certificate is kept: not the user's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data/openimagen/credentials"


@pytest.fixture
def signer(home: Path) -> Signer:
    """With a self-made certificate."""
    return Signer.load()


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    """The root of the example authority."""
    return write_chain(tmp_path / "root.pem", ROOT)
