"""Who may call what. Every blueprint declares its callers here, and a test refuses one that does not."""

from __future__ import annotations

from flask import Blueprint, Flask

CALLERS: dict[str, str] = {}


def declare(blueprint: Blueprint, callers: str) -> None:
    """Say in words who may call a blueprint's routes and how that is checked."""
    CALLERS[blueprint.name] = callers


def undeclared(app: Flask) -> list[str]:
    return sorted(set(app.blueprints) - CALLERS.keys())
