"""Filing a travel pay claim for somebody signed in: four steps, each a message of its own.

    find appointment ─► begin claim ─► add mileage ─► submit

What a step did is recorded before the next is owed, so whoever dies anywhere leaves the first step not done.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.queues import ACCOUNTS, TRAVEL_PAY
from flaskapp.travel_pay import record, service
from flaskapp.travel_pay.service import ClaimWork, Filed, SetBack
from flaskapp.travel_pay.states import APPOINTMENT, CLAIM, EXPENSE, PENDING, STEPS, SUBMIT
from jobs.engine.retry import IDENTIFY, TRAVEL_PAY_STEP
from jobs.engine.runner import run
from jobs.engine.spec import JobSpec
from jobs.travel_pay_steps import (
    Begun,
    add_mileage_to,
    appointment_of,
    begin,
    identify_asker,
    look_for_claim,
    look_for_mileage,
    look_for_submit,
    record_appointment,
    record_begun,
    submit,
)

LEASE_MARGIN_SECONDS = 30.0


def load(session: DbSession, claim_id: str, step: str) -> ClaimWork | None:
    """None when the step is done already. Raises SetBack where it cannot be its turn yet: it is not to end quietly."""
    work = service.load_claim(session, claim_id)
    if work.state == PENDING and STEPS.index(work.step) < STEPS.index(step):
        raise SetBack(f"{work.step}, and {step} is owed")
    return work if work.state == PENDING and work.step == step else None


# -- what attempts keep -------------------------------------------------------


def kept(answer: Any, *identity: str) -> dict[str, str]:
    """An answer, encrypted, and a digest of what another answer may not differ in."""
    return {"answer": vault().encrypt(json.dumps(answer)).decode(), "digest": vault().digest(*identity)}


def opened(ids: dict[str, str]) -> Any:
    return json.loads(vault().decrypt(ids["answer"].encode()))


def begun_from(ids: dict[str, str]) -> Begun:
    values = opened(ids)
    return Begun(Filed(**{**values["filed"], "how": "late"}), values["ours"])


def lease_seconds(config: Config) -> float:
    """The chain of tokens, a call and the read after it, and all once more after a refused token."""
    tokens = config.veis_total_seconds + config.sts_total_seconds + config.travel_pay_total_seconds
    return 2 * (tokens + 2 * config.travel_pay_total_seconds) + LEASE_MARGIN_SECONDS


def call_seconds(config: Config) -> float:
    return config.travel_pay_total_seconds


def confirm_after_seconds(config: Config) -> float:
    return config.travel_pay_confirm_seconds


IDENTIFY_TRAVELER = JobSpec(
    path=service.IDENTIFY_JOB,
    queue=ACCOUNTS,
    writes=False,
    schedule=IDENTIFY,
    lease_seconds=lambda config: config.accounts_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.accounts_total_seconds,
    load=lambda session, claim_id: load(session, claim_id, APPOINTMENT),
    act=identify_asker,
    record=record.record_identified,
    give_up=record.record_failed,
)


def step_spec(step: str, **parts: Any) -> JobSpec:
    """What the four steps have in common; `parts` are what each of them is."""
    return JobSpec(
        path=service.STEP_JOBS[step],
        queue=TRAVEL_PAY,
        schedule=TRAVEL_PAY_STEP,
        lease_seconds=lease_seconds,
        call_seconds=call_seconds,
        confirm_after_seconds=confirm_after_seconds,
        load=lambda session, claim_id: load(session, claim_id, step),
        give_up=record.record_failed,
        **parts,
    )


FIND_APPOINTMENT = step_spec(APPOINTMENT, writes=False, act=appointment_of, record=record_appointment)

BEGIN = step_spec(
    CLAIM,
    writes=True,
    act=begin,
    look_up=look_for_claim,
    record=record_begun,
    ids=lambda begun: kept(asdict(begun), "travel_pay_claim", begun.filed.claim_id),
    from_ids=begun_from,
)

ADD_MILEAGE = step_spec(
    EXPENSE,
    writes=True,
    act=add_mileage_to,
    look_up=look_for_mileage,
    record=record.record_mileage,
    ids=lambda expense_id: kept(expense_id, "travel_pay_expense", expense_id),
    from_ids=opened,
)

SUBMIT_CLAIM = step_spec(
    SUBMIT,
    writes=True,
    act=submit,
    look_up=look_for_submit,
    record=record.record_submitted,
    ids=lambda filed: kept(asdict(filed), "travel_pay_claim", filed.claim_id),
    from_ids=lambda ids: Filed(**{**opened(ids), "how": "late"}),
)


def identify_traveler(message_id: int, fence: int) -> None:
    run(IDENTIFY_TRAVELER, message_id, fence)


def find_appointment(message_id: int, fence: int) -> None:
    run(FIND_APPOINTMENT, message_id, fence)


def begin_claim(message_id: int, fence: int) -> None:
    run(BEGIN, message_id, fence)


def add_mileage(message_id: int, fence: int) -> None:
    run(ADD_MILEAGE, message_id, fence)


def submit_claim(message_id: int, fence: int) -> None:
    run(SUBMIT_CLAIM, message_id, fence)
