"""Declarations of who may call what. Every blueprint declares its callers here; a test refuses one that does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask

CALLERS: dict[str, str] = {}


@dataclass(frozen=True)
class Access:
    """Who may call a route: in words, and as OpenAPI security schemes by name, any one of which is enough.

    `optional`: without a proof the call is not refused; its answer only says less.
    """

    words: str
    proofs: Mapping[str, Mapping[str, Any]]
    optional: bool = False


def declare(blueprint: Blueprint, callers: str) -> None:
    """Say in words who may call a blueprint's routes and how that is checked."""
    CALLERS[blueprint.name] = callers


def undeclared(app: Flask) -> list[str]:
    return sorted(set(app.blueprints) - CALLERS.keys())
