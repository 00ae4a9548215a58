"""What the errors of the engines say, and what they must not say."""

from __future__ import annotations

import pytest
from pymongo.errors import OperationFailure

from engine_errors import mongo_errors
from errors import EngineUnfit

# As MongoDB 6.0 words it for a user whose rights were taken away.
COMMAND = '{ find: "orders", filter: { slot: { $in: [ "1:ann@example.org:1" ] } }, $db: "berth" }'
REFUSAL = f"not authorized on berth to execute command {COMMAND}"


def test_a_refusal_does_not_quote_what_was_asked() -> None:
    """It is logged, and addresses of customers stand in it."""
    details = {"ok": 0.0, "errmsg": REFUSAL, "code": 13, "codeName": "Unauthorized"}
    with pytest.raises(EngineUnfit, match="not authorized on berth .*13") as refused, \
            mongo_errors():
        raise OperationFailure(REFUSAL, 13, details)
    assert "example.org" not in str(refused.value)
