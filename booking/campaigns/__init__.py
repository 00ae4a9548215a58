"""The campaigns that come with Berth: the original one, and a larger one that is the default."""

from __future__ import annotations

from pathlib import Path

ORIGINAL = Path(__file__).with_name("original.json")
DEFAULT = Path(__file__).with_name("default.json")
