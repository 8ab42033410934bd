"""Log-ins that their operators ended: the browser forgets its cookie then, but a copy of the cookie would still work.

The ended ones are kept, not the good ones: they are fewer, and after eight hours none is needed any more.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.db import DbSession, db, durably, reading
from outbox import NOW, Timestamp, commit_durably


class LogOut(db.Model):  # type: ignore[name-defined]
    """Kept for a day: by then its log-in would be over anyway."""

    __tablename__ = "operator_log_outs"

    log_in: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class LogOuts:
    """Ended log-ins, by their ids. Both methods raise what the database raises: while it is away, nobody gets in."""

    def add(self, log_in: str) -> None:
        statement = insert(LogOut).values(log_in=log_in).on_conflict_do_nothing()

        def end(session: DbSession) -> None:
            session.execute(statement)
            commit_durably(session)

        durably(end)

    def __contains__(self, log_in: str) -> bool:
        """One statement, one round trip."""
        with reading() as session:
            return bool(session.execute(select(exists().where(LogOut.log_in == log_in))).scalar_one())
