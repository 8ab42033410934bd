"""Table of periodic jobs: what runs, and how often, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Periodic:
    """`name` is the job's stable id in Redis; `path` takes no arguments."""

    name: str
    path: str
    every_seconds: int


PERIODIC = (
    Periodic("periodic-sweep", "jobs.housekeeping.sweep", 10),
    Periodic("periodic-itf-refresh", "jobs.housekeeping.refresh_itfs", 60),
    Periodic("periodic-document-poll", "jobs.housekeeping.poll_documents", 10),
    Periodic("periodic-audit", "jobs.housekeeping.audit_all", 60),
    Periodic("periodic-minutes", "jobs.housekeeping.count_minutes", 60),
    Periodic("periodic-synthetic", "jobs.housekeeping.file_synthetic", 60),
    Periodic("periodic-retention", "jobs.housekeeping.retain", 3600),
)
