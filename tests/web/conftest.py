"""A running shop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    """The shop, empty of visitors."""
    server = Shop()
    yield server
    server.close()
