"""What contract tests of suppliers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripted_vendor import ScriptedVendor, scripted_vendor


@pytest.fixture
def vendor() -> Iterator[ScriptedVendor]:
    """Says what the test wrote down; fails it when anything else was asked."""
    with scripted_vendor() as made:
        yield made
