"""The scheduler of the simulation: one thread, many processes, as greenlets that stop at every boundary.

A seeded choice decides which goes on. Nothing here waits for real time: `now` is in seconds since the seed began, and
moves only when it is moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from jobs.periodic.isolated import PartsFailed

TICK_SECONDS = 0.001


class Killed(BaseException):
    """The process in which this was raised is dead; no code may catch it."""


class PromiseBroken(BaseException):
    """Something that must always hold did not; no code of the product may catch it and go on."""


class Task:
    """One flow of control in one process: a round, a job, a request. `troubled`: Postgres or Redis failed it."""

    def __init__(self, hub: Hub, owner: str, name: str, work: Callable[[], Any]) -> None:
        self.hub, self.owner, self.name, self.work = hub, owner, name, work
        self.greenlet = greenlet(self.run, parent=hub.main)
        self.wakes_at: float | None = None
        self.blocked_on: Any = None
        self.place = "at its beginning"
        self.dying = False
        self.troubled = False
        self.pointer: tuple[int, int] | None = None
        self.answers: list[tuple[str, str]] = []
        self.granted = False
        # A thread of a worker, and the tasks that this one started as threads.
        self.is_thread = False
        self.started: list[Task] = []
        self.connections: set[Any] = set()

    def run(self) -> None:
        try:
            self.work()
        except Killed:
            self.troubled = True
        except PromiseBroken as broken:
            self.hub.broken.append(f"{self.name}: {broken}")
        except Exception as error:
            errors = error.failed.values() if isinstance(error, PartsFailed) else [error]
            if not (self.troubled and all(isinstance(each, SQLAlchemyError | RedisError) for each in errors)):
                self.hub.broken.append(f"{self.name} raised {type(error).__name__}: {error}")

    @property
    def over(self) -> bool:
        return bool(self.greenlet.dead)


class Hub:
    """All tasks, and whose turn it is. `faults` says, at each boundary, whether the process ends there."""

    def __init__(self, crashes_here: Callable[[Task, str, str], bool], cancel: Callable[[Any], None]) -> None:
        self.main = getcurrent()
        self.crashes_here, self.cancel = crashes_here, cancel
        # At the end nobody is interrupted any more, except where they wait.
        self.calm = False
        self.now = 0.0
        self.tasks: list[Task] = []
        self.broken: list[str] = []
        self.steps: list[str] = []
        self.crashes: Counter[str] = Counter()
        self.stalled: dict[str, float] = {}
        self.leaving: list[str] = []
        self._current: Task | None = None

    # -- in a task ----------------------------------------------------------------------------------

    def current(self) -> Task | None:
        """The task that runs now; None for the world itself, which has no boundaries."""
        task = self._current
        return task if task is not None and getcurrent() is task.greenlet else None

    def boundary(self, where: str, what: str) -> None:
        """Stop here, and go on when picked; raises Killed when the process ends here."""
        task = self.current()
        if task is None:
            return
        if task.dying:
            raise Killed
        task.place = f"{where} {what}"
        self.steps.append(f"{self.now:.3f} {task.name}: {task.place}")
        if self.crashes_here(task, where, what):
            self.crashes[f"{task.owner.split('-')[0]} {where} {what}"] += 1
            self.steps.append(f"{self.now:.3f} {task.owner} dies")
            task.dying = True
        if not self.calm or task.dying:
            self.main.switch()
        if task.dying:
            raise Killed

    def sleep(self, seconds: float) -> None:
        task = self.current()
        assert task is not None, "only a task can sleep"
        self.boundary("asleep", f"{seconds:.1f} s")
        task.wakes_at = self.now + seconds
        self.main.switch()
        if task.dying:
            raise Killed

    def wait_for_lock(self, connection: Any) -> None:
        """Let the others go on. When one of them ends a transaction, it checks whether this task may go on."""
        task = self.current()
        assert task is not None
        task.blocked_on = connection
        self.steps.append(f"{self.now:.3f} {task.name}: waits for a lock")
        self.main.switch()

    # -- in the world -------------------------------------------------------------------------------

    def start(self, owner: str, name: str, work: Callable[[], Any]) -> Task:
        task = Task(self, owner, f"{owner} {name}", work)
        self.tasks.append(task)
        return task

    def resume(self, task: Task) -> None:
        """Let a task go on to its next boundary. A process that dies there ends all its tasks."""
        self.now += TICK_SECONDS
        task.wakes_at = None
        self.switch_to(task)
        if task.dying:
            self.kill(task.owner)
        self.tasks = [each for each in self.tasks if not each.over]

    def switch_to(self, task: Task) -> None:
        self._current = task
        task.greenlet.switch()
        self._current = None

    def kill(self, owner: str) -> None:
        """End every task of a process where it stands. Its transactions and connections end with it."""
        for task in self.tasks_of(owner):
            self.kill_one(task)
        self.stalled.pop(owner, None)

    def kill_one(self, task: Task) -> None:
        """End one task where it stands; its process does not see that."""
        task.dying = task.troubled = True
        if task.blocked_on is not None:
            self.cancel(task.blocked_on)
            task.blocked_on = None
        while not task.over:
            self.switch_to(task)
        self.tasks = [each for each in self.tasks if each is not task]

    def tasks_of(self, owner: str) -> list[Task]:
        return [task for task in self.tasks if task.owner == owner]

    def runnable(self) -> list[Task]:
        return [
            task
            for task in self.tasks
            if task.blocked_on is None
            and self.stalled.get(task.owner, 0.0) <= self.now
            and (task.wakes_at is None or task.wakes_at <= self.now)
        ]

    def next_wake(self) -> float | None:
        """When the next sleeper wakes. Stalled processes sleep on."""
        wakes = [max(task.wakes_at or 0.0, self.stalled.get(task.owner, 0.0)) for task in self.tasks]
        later = [wake for wake in wakes if wake > self.now]
        return min(later) if later else None
