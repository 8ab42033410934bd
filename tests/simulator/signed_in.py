"""The upstreams of signed-in people in memory: accounts, intents to file, forms, and documents that cannot be looked up
once the reply to their upload was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from flaskapp.upstreams.accounts import Person
from flaskapp.upstreams.errors import Duplicate
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from flaskapp.upstreams.lighthouse.documents import DocumentStatus, NoneKnown, Statuses, Upload
from tests.simulator.hub import PromiseBroken
from tests.simulator.upstreams import BEGAN, Upstream, Write

ACCOUNTS = tuple(UUID(int=number, version=4) for number in (11, 12))
# How long Lighthouse works on a document, and how often it fails on the way, or says at first that it failed.
DELIVERY_SECONDS = (60.0, 4000.0, 20_000.0)
ENDINGS = {"arrives": 6.0, "fails": 1.0, "fails, then arrives": 1.0}
CORRECTED_SECONDS = 2 * 86_400.0


def icn_of(account_id: UUID | str) -> str:
    return f"ICN-{str(account_id)[-2:]}"


@dataclass
class Accounts(Upstream):
    name = "accounts"

    def find(self, account_id: str) -> Person | None:
        self.read()
        icn = icn_of(account_id)
        return Person(icn, "Sam", "123456789", participant_id=f"P-{icn}", email="sam@example.com")


@dataclass
class LighthouseClaims(Upstream):
    """`holds` has each person's ITF by ICN; a second one is answered with the first."""

    numbers: Any = field(default_factory=lambda: count(9001))

    name = "lighthouse_claims"

    def active_itf(self, icn: str, itf_type: str, total_seconds: float | None = None) -> UpstreamITF | None:
        self.read()
        if icn not in self.holds:
            self.deny(icn)
        found: UpstreamITF | None = self.holds.get(icn)
        return found

    def create_itf(self, icn: str, itf_type: str, before_write: Callable[[], None], **_: Any) -> UpstreamITF:
        write = self.write(icn, before_write)
        held: UpstreamITF = self.holds[icn]
        if not write.took_effect:
            write.closed = True
            return UpstreamITF(held.id, held.type, "duplicate", held.created_at, held.expires_at)
        self.answer("itf", held.id)
        return held

    def take_effect(self, write: Write) -> None:
        self.file(write.key)

    def file(self, icn: str) -> None:
        """Put an ITF on record, by us or by somebody in an office."""
        now = BEGAN + timedelta(seconds=self.hub.now)
        self.holds[icn] = UpstreamITF(str(next(self.numbers)), "compensation", "active", now, now + timedelta(days=365))


@dataclass
class Form526(Upstream):
    """`holds` has the claim's id by our reference."""

    numbers: Any = field(default_factory=lambda: count(600_000_001))

    name = "form526"

    def submit(self, reference: str, icn: str, form: dict[str, Any], before_write: Callable[[], None]) -> int:
        write = self.write(reference, before_write)
        if not write.took_effect:
            write.closed = True
            raise Duplicate(self.name)
        claim_id: int = self.holds[reference]
        self.answer("form526", str(claim_id))
        return claim_id

    def find(self, reference: str) -> int | None:
        self.read()
        if reference not in self.holds:
            self.deny(reference)
        found: int | None = self.holds.get(reference)
        return found

    def take_effect(self, write: Write) -> None:
        self.holds[write.key] = next(self.numbers)


@dataclass
class Document:
    """One upload that arrived. It is `ended_at` some time, as `ending` says."""

    name: str
    ended_at: float
    ending: str

    def status(self, now: float) -> DocumentStatus:
        if now < self.ended_at:
            return DocumentStatus("in_progress", None, None, None, {}, None)
        at = BEGAN + timedelta(seconds=self.ended_at)
        arrived = self.ending == "arrives" or (
            self.ending == "fails, then arrives" and now >= self.ended_at + CORRECTED_SECONDS
        )
        if arrived:
            return DocumentStatus("success", at, at, None, {}, None)
        return DocumentStatus("failed", at, at, "CLAIMS_EVIDENCE", {}, "it cannot be stored")

    def arrives(self) -> bool:
        return self.ending != "fails"


@dataclass
class LighthouseDocuments(Upstream):
    """`holds` has every upload that arrived by its request id. Two of one document make two documents there."""

    numbers: Any = field(default_factory=lambda: count(70_001))

    name = "lighthouse_documents"

    def upload(self, document: Upload, chunks: Callable[[], Iterable[bytes]], before_write: Callable[[], None]) -> int:
        if sum(map(len, chunks())) != document.size:
            raise PromiseBroken("a document was not sent whole")
        write = self.write(document.file_name, before_write)
        if not write.took_effect:
            raise PromiseBroken("an upload was answered that never arrived")
        request_id = next(number for number, made_by in self.made.items() if made_by is write)
        self.answer("document", str(request_id))
        return request_id

    made: dict[int, Write] = field(default_factory=dict)

    def statuses(self, request_ids: Sequence[int]) -> Statuses:
        self.read()
        found = {each: self.holds[each].status(self.hub.now) for each in request_ids if each in self.holds}
        if request_ids and not found:
            raise NoneKnown(self.name)
        return Statuses(found, frozenset(request_ids) - found.keys(), frozenset())

    def is_held(self, key: str) -> bool:
        """Lighthouse knows no names: it holds whatever arrives."""
        return False

    def object_to_another(self, earlier: Write) -> None:
        """Nobody can look up whether it arrived; but until it can no longer arrive, nobody may send it again."""
        if self.may_take_effect(earlier):
            raise PromiseBroken(f"{self.name}: sent again while an earlier one may still take effect")

    def take_effect(self, write: Write) -> None:
        number = next(self.numbers)
        self.made[number] = write
        ending = self.draws.choices(list(ENDINGS), list(ENDINGS.values()))[0]
        self.holds[number] = Document(write.key, self.hub.now + self.draws.choice(DELIVERY_SECONDS), ending)

    def uploads_of(self, name: str) -> list[Document]:
        return [held for held in self.holds.values() if held.name == name]
