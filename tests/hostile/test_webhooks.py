"""Callbacks from anybody about anything: none is our fault, none changes anything without proof, their order hardly
counts.

Every run makes the same ones; `PROPERTY_EXAMPLES=2000` makes that many new ones instead.
"""

from __future__ import annotations

import json
import uuid
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flaskapp.db import transaction
from flaskapp.flows import Content
from flaskapp.notifications.service import enqueue_notification, record_sent
from flaskapp.notifications.states import DELIVERED, NOTIFICATION, PENDING, SENT, STATE_OF_STATUS
from flaskapp.upstreams.va_notify import callback_signature
from sandbox.upstreams.settings import FakeSettings
from tests.hostile.described import EXAMPLES
from tests.integration.steps import command, file_claim
from tests.product import Product

PATH = "/va_notify/callbacks"
KNOWN = FakeSettings()
PROFILE = settings(
    max_examples=EXAMPLES or 30,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    # Hypothesis explains a failure by running it traced, for minutes; its smallest form says enough.
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
CYCLES = count(2)

odd_texts = st.sampled_from(
    ["", " ", "delivered", "0", "\u202e", "ſent", "DELIVERED", "x" * 9_000, "薬", "null", "1e9"]
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), odd_texts, texts
)
keys = st.text("ab_Ä", max_size=3).map(str.lower)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
timestamps = st.sampled_from(
    [
        "2026-03-01T12:00:00.500000Z",
        "2026-03-01T12:00:09",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-03-01T12:00:00+00:00:00.000001",
        "2026-W09-7",
        "20260301",
        "tomorrow",
    ]
)
statuses = st.sampled_from([*STATE_OF_STATUS, "teleported"])


def nearly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What VANotify says, or now and then anything at all."""
    return st.one_of(strategy, strategy, strategy, anything)


bodies = st.fixed_dictionaries(
    {"status": nearly(statuses)},
    optional={
        "id": nearly(st.uuids().map(str)),
        "completed_at": nearly(timestamps),
        "sent_at": nearly(timestamps),
        "created_at": nearly(timestamps),
        "to": anything,
        "provider": anything,
    },
)
# What stands for our notification: its id, also in other spellings, or something else.
references = st.sampled_from(["own", "own", "own", "upper", "braces", "urn"]) | anything


def spelled(reference: Any, notification_id: str) -> Any:
    spellings = {
        "own": notification_id,
        "upper": notification_id.upper(),
        "braces": f"{{{notification_id}}}",
        "urn": f"urn:uuid:{notification_id}",
    }
    return spellings.get(reference, reference) if isinstance(reference, str) else reference


@pytest.fixture
def claim_id(product: Product) -> str:
    return file_claim(product).id


def new_notification(claim_id: str, *, sent: bool = True) -> str:
    """A notification of that claim, which VANotify has taken or is about to take."""
    with transaction() as session:
        content = Content("cie", {"icn": "", "phone": ""}, {}, "sms")
        notification_id = enqueue_notification(session, "travel_claim", claim_id, "created", next(CYCLES), content)
        assert notification_id is not None
        if sent:
            record_sent(session, str(notification_id), "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d")
    return str(notification_id)


def post(product: Product, body: Any, headers: dict[str, str] | None = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    proof = {"Authorization": f"Bearer {KNOWN.vanotify_callback_token}"} if headers is None else headers
    return product.app.test_client(use_cookies=False).post(
        PATH, data=data, content_type="application/json", headers=proof
    )


def standing(product: Product, notification_id: str) -> list[Any]:
    """Everything that a callback could change."""
    row = product.rows("SELECT * FROM notifications WHERE id = :id", id=notification_id)
    cases = product.rows("SELECT * FROM cases WHERE subject_id = :id ORDER BY id", id=notification_id)
    return [row, cases, path_of(product, notification_id)]


def path_of(product: Product, notification_id: str) -> list[str]:
    query = (
        "SELECT moved_from, moved_to FROM outbox_history WHERE subject_id = :id AND moved_to IS NOT NULL ORDER BY id"
    )
    moves = product.rows(query, id=notification_id)
    assert all(move.moved_from == before.moved_to for before, move in pairwise(moves))
    return [PENDING, *(move.moved_to for move in moves)]


def assert_legal(product: Product, notification_id: str) -> None:
    """Every step is allowed by the states, the last is the current state, and an undelivered notification has a
    case."""
    path = path_of(product, notification_id)
    assert all(NOTIFICATION.allows(*step) for step in pairwise(path)), path
    state = product.value("SELECT state FROM notifications WHERE id = :id", id=notification_id)
    open_cases = product.value(
        "SELECT count(*) FROM cases WHERE subject_id = :id AND closed_at IS NULL", id=notification_id
    )
    assert (path[-1], open_cases) == (state, int(state == "undeliverable"))


def test_the_history_is_legal_whatever_a_proven_callback_says(product: Product, claim_id: str) -> None:
    @PROFILE
    @given(sent=st.booleans(), said=st.lists(st.tuples(references, bodies, st.booleans()), min_size=1, max_size=4))
    def tried(sent: bool, said: list[tuple[Any, dict[str, Any], bool]]) -> None:
        notification_id = new_notification(claim_id, sent=sent)
        for reference, body, signed in said:
            content = {"reference": spelled(reference, notification_id), **body, "addedLater": {"someKey": 1}}
            # Made as the other side makes it: from what a JSON parser reads, in its order (contract: travel 6.6).
            signature = callback_signature(KNOWN.vanotify_secret, json.loads(json.dumps(content)))
            for _ in range(2):
                answer = post(product, content, {"x-enp-signature": signature} if signed else None)
                assert answer.status_code == 200, (content, answer.text)
        assert_legal(product, notification_id)

    tried()
    assert command(product, "audit").exit_code == 0


PROOFS = st.one_of(
    st.just({}),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20).map(
        lambda token: {"Authorization": f"Bearer {token}"}
    ),
    st.sampled_from(["Bearer", "Basic", "bearer\t", "Token"]).map(
        lambda scheme: {"Authorization": f"{scheme}{KNOWN.vanotify_callback_token}"}
    ),
    st.just({"Authorization": f"Bearer {KNOWN.vanotify_callback_token[:-1]}"}),
    st.just({"Authorization": f"Bearer {KNOWN.vanotify_callback_token} "}),
    st.just({"Authorization": f"Bearer {KNOWN.vanotify_secret}"}),
    st.text("0123456789abcdefXYZ é", max_size=70).map(lambda text: {"x-enp-signature": text}),
    st.just({"x-enp-signature": callback_signature(KNOWN.vanotify_secret, {})}),
)


def test_no_callback_without_proof_changes_anything(product: Product, claim_id: str) -> None:
    notification_id = new_notification(claim_id)
    before = standing(product, notification_id)

    @PROFILE
    @given(body=bodies, proof=PROOFS)
    def tried(body: dict[str, Any], proof: dict[str, str]) -> None:
        answer = post(product, {"reference": notification_id, **body}, proof)
        assert (answer.status_code, answer.get_json()) == (401, {"message": "Unauthorized"}), proof
        assert standing(product, notification_id) == before

    tried()


def test_of_dated_callbacks_the_newest_ending_counts_in_any_order(product: Product, claim_id: str) -> None:
    dated = st.lists(
        st.tuples(st.sampled_from(sorted(STATE_OF_STATUS)), st.integers(0, 59)),
        min_size=1,
        max_size=5,
        unique_by=lambda each: each[1],
    )

    @PROFILE
    @given(callbacks=dated, again=st.integers(0, 4))
    def tried(callbacks: list[tuple[str, int]], again: int) -> None:
        notification_id = new_notification(claim_id)
        for status, second in [*callbacks, callbacks[again % len(callbacks)]]:
            timestamp = f"2026-03-01T12:00:{second:02d}Z"
            assert (
                post(product, {"reference": notification_id, "status": status, "completed_at": timestamp}).status_code
                == 200
            )
        endings = [(second, STATE_OF_STATUS[status]) for status, second in callbacks if STATE_OF_STATUS[status] != SENT]
        assert path_of(product, notification_id)[-1] == (max(endings)[1] if endings else SENT)
        assert_legal(product, notification_id)

    tried()


def test_no_bytes_are_our_fault(product: Product, claim_id: str) -> None:
    notification_id = new_notification(claim_id)
    before = standing(product, notification_id)
    whole = json.dumps({"reference": notification_id, "status": DELIVERED}).encode()

    @PROFILE
    @given(cut=st.integers(0, len(whole) - 1), put=st.binary(max_size=8))
    def tried(cut: int, put: bytes) -> None:
        # Never the rest of it, so that no body is the whole one.
        assert post(product, whole[:cut] + put).status_code in (200, 400)

    tried()
    assert standing(product, notification_id) == before
    assert post(product, {"reference": str(uuid.uuid4()), "status": DELIVERED}).status_code == 200
    assert post(product, b'{"reference":"' + b"x" * 70_000 + b'"}').status_code == 413
    assert standing(product, notification_id) == before
