"""Reader of Lighthouse's statuses of uploaded documents, one id at a time: no entry, however odd, spoils the others.

Times are milliseconds in real answers and seconds in the published example. Keys may be missing, and words are added.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flaskapp.upstreams.transport.http import messages
from flaskapp.upstreams.transport.ids import read_id
from flaskapp.upstreams.transport.redaction import redact

logger = logging.getLogger(__name__)

STATES = {"IN_PROGRESS": "in_progress", "SUCCESS": "success", "FAILED": "failed"}
# What comes after these two removes Lighthouse's own copy, and is nothing to the person (contract: benefits 4.3).
DELIVERY_STEPS = ("CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE")
# This is March 1973 in milliseconds and after the year 5000 in seconds: no document has either date.
_LEAST_MILLISECONDS = 100_000_000_000
_MOST_MILLISECONDS = 250_000_000_000_000
_MOST_DIGITS = 15


@dataclass(frozen=True)
class DocumentStatus:
    """`state` is in_progress, success, failed, or unknown for a word that is none of Lighthouse's three.

    A document whose delivery steps are done is a success, whatever still goes on or failed behind them. Times are
    aware UTC. `failed_step` is set only for a failed document, `step_states` holds Lighthouse's words by the name of
    the step; all texts are redacted.
    """

    state: str
    started_at: datetime | None
    ended_at: datetime | None
    failed_step: str | None
    step_states: dict[str, str]
    error: str | None


@dataclass(frozen=True)
class Statuses:
    """Every requested id is in exactly one of the three.

    `not_found` are those that the answer lists as such; `unreadable` those that it leaves out, contradicts or garbles.
    """

    found: dict[int, DocumentStatus]
    not_found: frozenset[int]
    unreadable: frozenset[int]


def read_statuses(payload: Any, request_ids: Iterable[int]) -> Statuses:
    """What an answer says about those ids; never raises. Ids that were not requested are counted in a log line."""
    requested = frozenset(request_ids)
    data = _object(_object(payload).get("data"))
    readings = _readings(_list(data.get("statuses")))
    missing = {read_id(value) for value in _list(data.get("requestIdsNotFound"))} - {None}
    unrequested = (readings.keys() | missing) - requested
    if unrequested:
        logger.warning("unrequested", extra={"event": "documents.status_unrequested", "ids": len(unrequested)})
    found = {
        request_id: status
        for request_id, status in readings.items()
        if status is not None and request_id in requested - missing
    }
    not_found = frozenset(requested & missing - readings.keys())
    return Statuses(found, not_found, requested - found.keys() - not_found)


def _readings(entries: list[Any]) -> dict[int, DocumentStatus | None]:
    """The status of each id; None when its entry cannot be read, or another entry of the same id differs."""
    readings: dict[int, DocumentStatus | None] = {}
    for entry in entries:
        request_id = read_id(_object(entry).get("requestId"))
        if request_id is not None:
            status = _status(entry)
            readings[request_id] = status if readings.get(request_id, status) == status else None
    return readings


def _status(entry: dict[str, Any]) -> DocumentStatus | None:
    word = entry.get("status")
    if not isinstance(word, str):
        return None
    time = _object(entry.get("time"))
    step_states = _step_states(_list(entry.get("steps")))
    delivered = word in STATES and _is_delivered(entry.get("error"), step_states)
    state = "success" if delivered else STATES.get(word, "unknown")
    return DocumentStatus(
        state,
        _timestamp(time.get("startTime")),
        _timestamp(time.get("endTime")),
        _failed_step(entry.get("error"), step_states) if state == "failed" else None,
        step_states,
        _error(entry.get("error")),
    )


def _step_states(steps: list[Any]) -> dict[str, str]:
    named = ((_redacted(_object(step).get("name")), _redacted(_object(step).get("status"))) for step in steps)
    return {name: word for name, word in named if name and word}


def _is_delivered(error: Any, step_states: dict[str, str]) -> bool:
    """Whether both delivery steps succeeded, and the error does not contradict that by naming one of them."""
    named = _object(error).get("step")
    return named not in DELIVERY_STEPS and all(step_states.get(name) == "SUCCESS" for name in DELIVERY_STEPS)


def _failed_step(error: Any, step_states: dict[str, str]) -> str | None:
    """The step that the error names, else the first that is marked as failed."""
    failed = (name for name, word in step_states.items() if word == "FAILED")
    return _redacted(_object(error).get("step")) or next(failed, None)


def _error(error: Any) -> str | None:
    return _redacted(error) or _redacted("; ".join(messages(error)))


def _redacted(value: Any) -> str | None:
    return (redact(value) or None) if isinstance(value, str) else None


def _timestamp(value: Any) -> datetime | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST_MILLISECONDS:
        return None
    return datetime.fromtimestamp(value / 1000 if value >= _LEAST_MILLISECONDS else value, UTC)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
