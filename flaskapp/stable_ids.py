"""Ids that follow from what they name. A row that a restore from a backup lost comes back under the same id.

Upstreams know submissions and notifications by these ids: what was filed or sent before is found under them.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

NAMESPACE = UUID("6f0d5c1e-2f0e-4c37-9a53-5f0f3f7f2f61")


def id_from(kind: str, *key: Any) -> UUID:
    """The id of the one row of this kind with this key, which Postgres allows only once. No part of the key may be
    personal data by itself: digests and ids are not."""
    return uuid5(NAMESPACE, " ".join(map(str, (kind, *key))))
