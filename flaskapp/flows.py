"""Flow registration: a flow is one `Flow` value, and every list of flows, jobs or queues is derived from `Flows`.

This module knows no flow. The values stand in `flaskapp/<flow>/flow.py`, and `flaskapp.REGISTERED` names them once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from flask import Blueprint

from flaskapp.config import Config
from flaskapp.db import DbSession, Markable
from flaskapp.logs import detail_of_request
from flaskapp.statemachine import StateMachine
from outbox import Database, QueueSpec, add, add_all, audit, begin, breakers, sql

# For periodic jobs, which call no upstream and have no messages.
HOUSEKEEPING = QueueSpec("housekeeping", upstream=None, threads=2, depth=50)

# Subjects that ended between two times, or have not ended yet. A bound that is NULL does not apply.
WITHIN = (
    "(CAST(:since AS timestamptz) IS NULL OR {ended} IS NULL OR {ended} >= :since)"
    " AND (CAST(:until AS timestamptz) IS NULL OR {ended} < :until)"
)
# Whose an account is: two accounts of one person give the same digest. The account itself, while nobody knows.
PERSON_OF = "(SELECT COALESCE(a.icn_digest, a.id::text) FROM accounts a WHERE a.id = {account})"


@dataclass(frozen=True)
class Work:
    """One kind of job, as its messages name it.

    `path` is the dotted path of the job, `subject` the type of subject it works on. Seconds count from the time it is
    enqueued. A missed deadline opens a case, past `give_up_seconds` of wall-clock time a human gets the work.
    `look_first` is for what a person may file again after a restore from a backup lost it, and what its upstream finds
    by the person: for some time after a restore it is looked up before it is sent.
    `keeps_promise` is False for work that nobody was promised, such as a comparison.
    """

    path: str
    queue: QueueSpec
    subject: str
    deadline_seconds: float
    give_up_seconds: float
    keeps_promise: bool = True
    look_first: bool = False

    def enqueue(
        self,
        session: DbSession,
        subject_id: str,
        *,
        deadline_seconds: float | None = None,
        give_up_seconds: float | None = None,
        delay_seconds: float = 0.0,
        about: tuple[str, str] | None = None,
    ) -> int | None:
        """Add the message in the caller's transaction; its id, or None where this work waits for the subject already.

        Limits that are given replace those of the work. `about` is the submission that it follows from, where that is
        another subject: one from before a restore may have been followed up already.
        """
        return add(
            session,
            job=self.path,
            queue=self.queue.name,
            upstream=self.queue.upstream,
            subject_type=self.subject,
            subject_id=subject_id,
            deadline_seconds=self.deadline_seconds if deadline_seconds is None else deadline_seconds,
            give_up_seconds=self.give_up_seconds if give_up_seconds is None else give_up_seconds,
            delay_seconds=delay_seconds,
            look_first=self.look_first,
            about=about,
            request_id=detail_of_request().get("request_id"),
        )

    def enqueue_all(self, session: DbSession, about: Mapping[str, str], about_type: str) -> None:
        """As `enqueue`, for many subjects in one statement. `about` has the id of the submission, of the type
        `about_type`, that each of them follows from. Only for jobs: what a request asks for has the request's id."""
        add_all(
            session,
            about,
            job=self.path,
            queue=self.queue.name,
            upstream=self.queue.upstream,
            subject_type=self.subject,
            about_type=about_type,
            deadline_seconds=self.deadline_seconds,
            give_up_seconds=self.give_up_seconds,
            look_first=self.look_first,
        )

    def begin(
        self,
        db: Database,
        subject: Subject,
        rows: str,
        values: Mapping[str, Any],
        state: str,
        *,
        deadline_seconds: float | None = None,
    ) -> Any:
        """Insert a person's new row of the subject, in this state, with its history and the message: one statement, as
        `outbox.begin` says. None where `rows` inserts none."""
        return begin(
            db,
            rows,
            values,
            what=f"{subject.event}.requested",
            moved_to=state,
            actor="person",
            job=self.path,
            queue=self.queue.name,
            upstream=self.queue.upstream,
            subject_type=self.subject,
            deadline_seconds=self.deadline_seconds if deadline_seconds is None else deadline_seconds,
            give_up_seconds=self.give_up_seconds,
            look_first=self.look_first,
            detail=detail_of_request(),
        )


class Repair(Enum):
    """What `flask audit --repair` does about a broken rule. The last two leave the decision to a human."""

    ENQUEUE = "enqueue the lost work again"
    NOTIFY = "enqueue the lost notification again"
    GIVE_CASE = "open the lost case again"
    REOPEN_CASE = "open the case again that was closed without a record"
    LEAVE_TO_HUMAN = "open a case that names the rule"
    STOP_WORK = "park the work and open a case that names the rule"


@dataclass(frozen=True)
class Rule:
    """What must hold for each subject of a type, in SQL.

    `where` selects the subjects that break it: `s` has id, state, notification, cycle, watched and kept, `:subject` is
    the type. A rule about what is missing asks for `s.kept`: if the last change of a subject lies before that, its
    records may have been removed. `words` say what that means to a human. An `of_now` rule is not checked again for
    each slice of the past. A rule `of_last_move` also has `last.moved_to`, the state that the history of the subject
    ends with; null where no move is kept.
    """

    name: str
    words: str
    where: str
    repair: Repair
    of_now: bool = False
    of_last_move: bool = False


@dataclass(frozen=True)
class States:
    """Where a type of subject keeps its state: a machine, a mapped class and its columns.

    `column` holds the state, `notification` the SQL of the kind of notification that the row says was due, `began` and
    `ended` the SQL of when it did, `watched` whether an upstream is due to be polled for it, and `account` the SQL of
    the sign-in account that it is of, if it is of any. Without one, `digest` is the column with that of its person's
    ICN. What is `about_another` subject, which its columns `subject_type` and `subject_id` name, is of the same person.
    `owned` is the condition for what is of the account `:account`, where an index needs another than `account` makes.
    """

    machine: StateMachine
    model: type[Any]
    column: str = "state"
    notification: str = "notification"
    began: str = "requested_at"
    ended: str = "finished_at"
    watched: str = "false"
    account: str | None = None
    digest: str | None = None
    about_another: bool = False
    owned: str = ""

    @property
    def person(self) -> str | None:
        """The SQL of whose it is, as a digest or an id; None where it does not say."""
        return PERSON_OF.format(account=self.account) if self.account is not None else self.digest

    @property
    def of_caller(self) -> str:
        """The SQL of whether a row is of the account `:account`, or of the person whose ICN has one of `:digests`."""
        of_account = f"{self.account} = :account" if self.account is not None else f"{self.digest} = ANY(:digests)"
        return self.owned or of_account

    @property
    def table(self) -> str:
        name: str = self.model.__tablename__
        return name

    @property
    def query(self) -> str:
        """The SQL of id, state, notification, cycle, watched, `whole` (its history is kept from its beginning) and
        `kept` (from its last change at least): of one subject where `:only` is set, and of those that ended between
        `:since` and `:until`."""
        shown = f"{self.column} AS state, {self.notification} AS notification, cycle, {self.watched} AS watched"
        shown += f", {self.began} >= {sql.kept_since()} AS whole"
        shown += f", COALESCE({self.ended}, {self.began}) >= {sql.kept_since()} AS kept"
        only = "(CAST(:only AS text) IS NULL OR id::text = :only)"
        return f"SELECT id::text AS id, {shown} FROM {self.table} WHERE {only} AND {WITHIN.format(ended=self.ended)}"


@dataclass(frozen=True)
class Content:
    """What a notification tells a person: `sender` whose template it is, `recipient` the person's icn and phone,
    `personalisation` what the template is filled with, `channel` sms or email."""

    sender: str
    recipient: dict[str, str]
    personalisation: dict[str, str]
    channel: str = "email"


Reopen = Callable[[DbSession, str, str], None]


def nothing_newer(session: DbSession, row: Any) -> None:
    """Whatever the person files later is another submission, and takes no row's place."""


@dataclass(frozen=True)
class Subject:
    """What messages, cases, history and notifications are about, by `name`.

    `event` begins the names of its history rows. `case_owner` reads the owner of its cases from the configuration. A
    subject with `states` was promised to a person, is counted by the audit, and has what repair needs:
    `enqueue(session, row)` enqueues the next step of a pending one, `compose(session, row)` writes the notification
    that its row names. `reset(session, row)` prepares a row for being reopened; `reopen` replaces the whole of it.
    `newer(session, row)` finds the id of a later submission of the same person that takes the row's place: with the
    row reopened, both would be filed. `known_as` names the columns with ids by which upstreams know it. `accounted`
    adds branches to the audit's CASE. `overdue` is False where lateness has another case. One `of_several` people is
    anew about others each time.

    One with a `sentence`, which says to the person where the row stands, is in the list of their submissions;
    `status_url` is the path that answers with more about the row, if there is one.

    `content` names the columns that hold personal data: they are removed `keep_days` after its end, when nobody has a
    case for it and no condition of `needed` (SQL about the row `s`) holds. `before_removal(session, ids)` prepares that
    rows are removed, whose history is over as well.
    """

    name: str
    case_owner: Callable[[Config], str]
    states: States | None = None
    event: str = ""
    enqueue: Callable[[DbSession, Any], Any] | None = None
    compose: Callable[[DbSession, Any], Content] | None = None
    reset: Callable[[DbSession, Any], None] = lambda session, row: None
    reopen: Reopen | None = None
    newer: Callable[[DbSession, Any], Any] = nothing_newer
    rules: tuple[Rule, ...] = ()
    accounted: str = ""
    known_as: tuple[str, ...] = ()
    overdue: bool = True
    is_submission: bool = True
    sentence: Callable[[DbSession, Any], str] | None = None
    status_url: Callable[[Any], str | None] = lambda row: None
    of_several: bool = False
    first_state: str | None = None
    content: tuple[str, ...] = ()
    keep_days: Callable[[Config], int] = lambda config: config.keep_ended_days
    needed: str = "false"
    before_removal: Callable[[DbSession, list[str]], None] = lambda session, ids: None


@dataclass(frozen=True)
class Told:
    """What receivers of webhooks are told of one kind: in words, the JSON schema of its `data`, an example of it."""

    words: str
    shape: dict[str, Any]
    example: dict[str, Any]


@dataclass(frozen=True)
class Flow:
    """One flow whole.

    `notification_kinds` are the kinds that each of its senders sends; `unused_senders` says which of them need no
    template yet; `sms_senders` reads the SMS sender id of those that send texts. `sync_upstreams` are read in requests,
    while a person waits, each with the name that people know it by. `rules` are about its periodic work; each query
    selects ids, each repair takes one. `tells` names what others can be told, by kind, of all registered flows.
    """

    name: str
    subjects: tuple[Subject, ...] = ()
    works: tuple[Work, ...] = ()
    blueprints: tuple[Blueprint, ...] = ()
    notification_kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unused_senders: Callable[[Config], Collection[str]] = lambda config: ()
    sms_senders: Mapping[str, Callable[[Config], str]] = field(default_factory=dict)
    sync_upstreams: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[audit.LedgerRule, ...] = ()
    tells: Callable[[Flows], Mapping[str, Told]] = lambda flows: {}


class Flows:
    """The registered flows, and all that is derived from them. Raises ValueError where two claim one name."""

    def __init__(self, *flows: Flow) -> None:
        self.flows = flows
        self.works = named("job", [(work.path, work) for flow in flows for work in flow.works])
        self.subjects = named("subject", [(each.name, each) for flow in flows for each in flow.subjects])
        self.notification_kinds = named("sender", [item for flow in flows for item in flow.notification_kinds.items()])
        self.sms_senders = named("SMS sender", [item for flow in flows for item in flow.sms_senders.items()])
        rules = [(rule.name, rule) for subject in self.subjects.values() for rule in subject.rules]
        self.own_rules: dict[str, Rule] = named("audit rule", rules)
        unknown = {work.subject for work in self.works.values()} - self.subjects.keys()
        if unknown:
            raise ValueError(f"jobs work on subjects that no flow registers: {', '.join(sorted(unknown))}")

    def and_also(self, *flows: Flow) -> Flows:
        return Flows(*self.flows, *flows)

    @cached_property
    def blueprints(self) -> tuple[Blueprint, ...]:
        return tuple(blueprint for flow in self.flows for blueprint in flow.blueprints)

    @cached_property
    def queues(self) -> tuple[QueueSpec, ...]:
        """Each queue once. Periodic jobs have one without an upstream."""
        return tuple(dict.fromkeys([*(work.queue for work in self.works.values()), HOUSEKEEPING]))

    @cached_property
    def sync_upstreams(self) -> dict[str, str]:
        """The upstreams that are read while a person waits, and what a person calls each."""
        return {name: spoken for flow in self.flows for name, spoken in flow.sync_upstreams.items()}

    @cached_property
    def work_rules(self) -> tuple[audit.LedgerRule, ...]:
        return tuple(rule for flow in self.flows for rule in flow.rules)

    @cached_property
    def tells(self) -> dict[str, Told]:
        """What receivers of webhooks can be told, by its kind."""
        return {kind: told for flow in self.flows for kind, told in flow.tells(self).items()}

    @cached_property
    def breaker_limits(self) -> dict[str, int]:
        """The upstreams that have a circuit breaker, and how many calls of ours each bears at once."""
        return breakers.limits_of(self.queues, self.sync_upstreams)

    @cached_property
    def promises(self) -> dict[str, Subject]:
        """Subjects with states: submissions, and the notifications about them."""
        return {name: subject for name, subject in self.subjects.items() if subject.states is not None}

    @cached_property
    def submissions(self) -> dict[str, Subject]:
        return {name: subject for name, subject in self.promises.items() if subject.is_submission}

    @cached_property
    def unpromised_jobs(self) -> tuple[str, ...]:
        return tuple(path for path, work in self.works.items() if not work.keeps_promise)

    @cached_property
    def overdue_subjects(self) -> list[str]:
        return [name for name, subject in self.subjects.items() if subject.overdue]

    @cached_property
    def synthetic(self) -> str:
        """The SQL of the type and id of whatever is synthetic: it is promised like all else, and counted nowhere."""
        promised = [(name, subject.states) for name, subject in self.promises.items()]
        return " UNION ALL ".join(
            f"SELECT CAST('{name}' AS text), id::text FROM {states.table} WHERE synthetic_on IS NOT NULL"
            for name, states in promised
            if states is not None and issubclass(states.model, Markable)
        )

    def without_template(self, config: Config) -> list[str]:
        """The notifications, as `<sender>.<kind>`, that nobody could be sent with the configured templates."""
        unused = {sender for flow in self.flows for sender in flow.unused_senders(config)}
        needed = [(sender, kind) for sender, kinds in self.notification_kinds.items() for kind in kinds]
        names = [f"{sender}.{kind}" for sender, kind in needed if sender not in unused]
        return [name for name in names if not config.vanotify_templates.get(name)]


def named(what: str, items: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in items]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"registered twice as {what}: {', '.join(sorted(twice))}")
    return dict(items)
