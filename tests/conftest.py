"""What every test gets: its own empty home, and the real 135M model where it asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from lumos_edge import resources
from lumos_edge.manifest import find_manifest
from lumos_edge.store import Store

# Read before any test moves the home: the weights are pulled once per machine, not once per test.
_REAL_MODELS = resources.data_folder() / "models"


@pytest.fixture(scope="session")
def nano_path() -> Path:
    """The base file of the nano pack, pulled (98 MB) into the user's own data folder if it is not there."""
    return Store(_REAL_MODELS).pull(find_manifest("nano"))


@pytest.fixture(autouse=True)
def _isolated_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """No test sees the user's settings, packs or weights, save those that ask for `nano_path`."""
    with mock.patch.dict(os.environ):
        keeps_home = "nano_path" in request.fixturenames
        for name in [name for name in os.environ if name.startswith("LUMOS_EDGE_")]:
            if not (keeps_home and name == "LUMOS_EDGE_HOME"):
                del os.environ[name]
        if not keeps_home:
            os.environ["LUMOS_EDGE_HOME"] = str(tmp_path / "lumos-edge-home")
        yield
