"""One seed from its first step to its rest: things happen in an order nobody would think of, then everything is well.

The story is drawn from the seed alone; told twice it is the same, step by step.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from outbox import rq_side
from tests.simulator.house import House
from tests.simulator.hub import Hub, PromiseBroken, Task
from tests.simulator.processes import QUEUES, RELAYS, WORKERS, Processes
from tests.simulator.promises import check_end, check_now
from tests.simulator.script import Script
from tests.simulator.scripted_redis import Data, ScriptedRedis
from tests.simulator.upstreams import BTSSS, VANotify

EVENTS = 9
PEOPLE = 2
MOST_TASKS = 6
MOST_ROUNDS = 40
LOCK_SECONDS, IDLE_SECONDS = 10.0, 60.0
STATUSES = ("delivered", "delivered", "permanent-failure", "temporary-failure", "sending")
# How long until something is due: work, a closed gate, a pointer given up for lost, a worker given up for dead.
NEXT_DUE = """
    SELECT extract(epoch FROM min(at) - outbox_now())::float FROM (
        SELECT due_at AS at FROM outbox_messages WHERE state = 'later'
        UNION ALL SELECT outbox_now() + interval '6 s' FROM outbox_messages WHERE state IN ('published', 'running')
        UNION ALL SELECT GREATEST(g.closed_until, outbox_now() + interval '2 s') FROM outbox_messages m
            LEFT JOIN outbox_gates g ON g.upstream = m.upstream WHERE m.state = 'ready'
    ) due
"""


@dataclass
class Story:
    """What one seed came to. `broken` is empty when every promise was kept."""

    seed: int
    steps: list[str]
    broken: list[str]
    crashes: Counter[str]
    faults: Counter[str]
    accepted: int
    seconds: float = 0.0
    parked: int = 0
    illegal: list[str] = field(default_factory=list)


class World:
    def __init__(self, house: House, seed: int) -> None:
        self.house, self.seed = house, seed
        self.rng = Random(f"story {seed}")
        house.rng.seed(f"product {seed}")
        self.script = Script(self.rng)
        self.hub = hub = Hub(self.script.crashes_here, house.server.cancel)
        self.redis = ScriptedRedis(hub, self.script.fails)
        check = self.check_upstream
        self.btsss = BTSSS(hub, lambda what: self.script.fate("btsss", what), check)
        self.va_notify = VANotify(hub, lambda what: self.script.fate("va_notify", what), check)
        house.server.loses, house.server.restarts = self.script.loses, 0
        house.move_in(hub, self.redis, self.btsss, self.va_notify)
        self.processes = Processes(house, hub, self.redis)
        self.last: Task | None = None
        self.kept: list[Data] = []
        self.parked_seen = 0

    def check_upstream(self, task: Task) -> None:
        self.processes.check_upstream(task)

    # -- the story ----------------------------------------------------------------------------------

    def tell(self) -> Story:
        began = time.perf_counter()
        broken: list[str] = []
        try:
            self.open()
            for _ in range(EVENTS):
                self.go_about()
                self.let_some_go_on()
                self.act(self.script.pick(self.script.events))
            self.come_to_rest()
        except PromiseBroken as broke:
            broken.append(str(broke))
        finally:
            self.end()
        broken = [*self.hub.broken, *broken]
        met = self.script.met
        accepted = len(self.processes.accepted)
        seconds = time.perf_counter() - began
        return Story(self.seed, self.hub.steps, broken, self.hub.crashes, met, accepted, seconds, self.parked_seen)

    def open(self) -> None:
        """Somebody asks, and often the first worker to take it is the first to go wrong."""
        self.ask()
        self.processes.relay_round(self.rng.choice(RELAYS))
        for task in list(self.hub.tasks):
            self.go_far(task, "nowhere")
        if self.rng.random() < 0.4:
            self.mistake_for_dead()

    def end(self) -> None:
        for owner in {task.owner for task in self.hub.tasks}:
            self.hub.kill(owner)

    def let_some_go_on(self) -> None:
        """A few steps of whoever can: mostly of the same one, so that stories also get somewhere."""
        for _ in range(self.rng.choice((1, 3, 8, 20, 40))):
            runnable = self.hub.runnable()
            if not runnable:
                return
            stays = self.last in runnable and self.rng.random() < 0.7
            self.last = self.last if stays else self.rng.choice(runnable)
            assert self.last is not None
            self.go_on(self.last)

    def go_on(self, task: Task) -> None:
        self.hub.resume(task)
        if self.hub.broken:
            raise PromiseBroken("see above")
        if task.dying:
            self.bury(task.owner)
        while self.hub.leaving:
            name = self.hub.leaving.pop()
            self.hub.kill(name)
            self.processes.begin(name)

    def bury(self, owner: str) -> None:
        """Whatever it held is never heard of again; its successor has another name."""
        if owner in (*RELAYS, *WORKERS):
            self.processes.begin(owner)

    def go_about(self) -> None:
        """The ordinary course of things, which all the rest befalls: work is taken, else time passes, and a relay looks."""
        waiting = [queue for queue in QUEUES if self.redis.waiting(queue.name)]
        if len(self.hub.tasks) >= MOST_TASKS:
            return
        if waiting and self.rng.random() < 0.8:
            self.processes.take_pointer(self.rng.choice(WORKERS), self.rng.choice(waiting))
            return
        self.pass_time()
        self.processes.relay_round(self.rng.choice(RELAYS))

    def nothing(self) -> None:
        """Not everything is an event."""

    def act(self, event: str) -> None:
        getattr(self, event.replace(" ", "_"))()

    # -- processes ----------------------------------------------------------------------------------

    def beat(self) -> None:
        self.processes.beat(self.rng.choice(WORKERS))

    def sweep(self) -> None:
        self.processes.sweep()

    def ask(self) -> None:
        self.processes.ask(f"ICN{self.rng.randrange(PEOPLE)}")

    def stall(self) -> None:
        """SIGSTOP, and later SIGCONT: whatever it was doing stands still, and so do its beats."""
        busy = sorted({task.owner for task in self.hub.tasks})
        if busy:
            seconds = self.rng.choice((5.0, 20.0, 70.0, 150.0, 600.0))
            self.hub.stalled[self.rng.choice(busy)] = self.hub.now + seconds

    def stop(self) -> None:
        name = self.rng.choice(WORKERS)
        if name not in self.hub.stalled and not self.processes.process_of(name).stopping.is_set():
            self.processes.stop(name)

    def mistake_for_dead(self) -> None:
        """A worker stands still in the middle of a job until the others have given up on it, and then goes on."""
        waiting = [queue for queue in QUEUES if self.redis.waiting(queue.name)]
        if self.hub.stalled:
            return
        if waiting:
            self.processes.take_pointer(self.rng.choice(WORKERS), self.rng.choice(waiting))
            self.go_far(self.hub.tasks[-1], self.rng.choice(("before btsss write", "asleep")))
        jobs = self.jobs()
        if jobs:
            until = self.hub.now + self.rng.choice((15.0, 40.0, 200.0, 200.0))
            self.hub.stalled[self.rng.choice(jobs).owner] = until
            self.carry_on(until)

    def go_far(self, task: Task, place: str) -> None:
        """To that place, or until it waits for an upstream, or has ended; nobody else moves."""
        while task in self.hub.runnable() and place not in task.place:
            self.go_on(task)

    def carry_on(self, until: float) -> None:
        """The others find out, and see to what the one that stands still had."""
        while self.hub.now < until and self.hub.tasks:
            while others := self.hub.runnable():
                self.go_on(self.rng.choice(others))
            self.advance(min(until - self.hub.now, self.rng.choice((12.0, 20.0, 40.0))))
            self.processes.relay_round(self.rng.choice(RELAYS))
            while others := self.hub.runnable():
                self.go_on(self.rng.choice(others))
            self.go_about()

    def jobs(self) -> list[Task]:
        return [task for task in self.hub.tasks if task.pointer is not None]

    def kill(self) -> None:
        """Of those who do something."""
        busy = sorted({task.owner for task in self.hub.tasks} & {*RELAYS, *WORKERS})
        if busy:
            name = self.rng.choice(busy)
            self.hub.crashes[f"{name.split('-')[0]} anywhere"] += 1
            self.hub.kill(name)
            self.processes.begin(name)

    def lose_thread(self) -> None:
        """One job of a worker ends without a word, as for want of memory; its process lives on and beats."""
        jobs = self.jobs()
        if jobs:
            self.befall("a thread ends without a word")
            self.hub.kill_one(self.rng.choice(jobs))

    # -- operators, callbacks, the kiosk ------------------------------------------------------------

    def messages(self, states: str) -> list[int]:
        query = "SELECT id FROM outbox_messages WHERE state = ANY(string_to_array(%s, ' ')) ORDER BY id"
        return [row[0] for row in self.house.server.look(query, states)]

    def reopen(self) -> None:
        found = self.messages("parked")
        if found:
            self.processes.reopen(self.rng.choice(found))

    def requeue(self) -> None:
        shown = [(queue, name) for queue in QUEUES for name in sorted(rq_side.failed_ids(self.redis, queue.name))]  # type: ignore[arg-type]
        if shown:
            queue, name = self.rng.choice(shown)
            self.processes.requeue(name, queue)

    def park(self) -> None:
        found = self.messages("later ready published")
        if found:
            self.processes.park(self.rng.choice(found))

    def callback(self) -> None:
        taken = list(self.va_notify.holds)
        if taken:
            self.processes.call_back(self.rng.choice(taken), self.rng.choice(STATUSES), self.rng.choice((0.0, 30.0)))

    def kiosk(self) -> None:
        icn = f"ICN{self.rng.randrange(PEOPLE)}"
        self.btsss.let_time_pass()
        if icn not in self.btsss.holds:
            self.btsss.file(icn)

    def outage(self) -> None:
        self.script.outages ^= {self.rng.choice(("btsss", "va_notify"))}

    # -- Redis and Postgres -------------------------------------------------------------------------

    def befall(self, what: str) -> None:
        self.script.met[what] += 1
        self.hub.steps.append(f"{self.hub.now:.3f} {what}")

    def flush(self) -> None:
        self.befall("Redis flushed")
        self.redis.flush()

    def lose_pointer(self) -> None:
        queue = self.rng.choice(QUEUES)
        if self.redis.waiting(queue.name):
            self.befall("a pointer lost")
            self.redis.data.lists[f"rq:queue:{queue.name}"].pop(0)

    def bring_back(self) -> None:
        """Of work that is still owed, or it would prove little; and somebody takes it at once."""
        owed = {str(message_id).encode() for message_id in self.messages("ready published running parked")}
        found = [index for index, (_, name, _) in enumerate(self.redis.pushed) if name.partition(b"-")[0] in owed]
        if found:
            self.befall("an old pointer back")
            queue = self.redis.bring_back(self.rng.choice(found))
            self.processes.take_pointer(self.rng.choice(WORKERS), next(each for each in QUEUES if each.name == queue))

    def snapshot(self) -> None:
        """Keep one, or go back to one that was kept."""
        if self.kept and self.rng.random() < 0.5:
            self.befall("Redis restored from an old snapshot")
            self.redis.data = self.kept.pop()
        else:
            self.kept.append(self.redis.snapshot())

    def restart(self) -> None:
        self.befall("restart of Postgres")
        self.house.server.restart()

    # -- time ---------------------------------------------------------------------------------------

    def pass_time(self) -> None:
        """Time passes only while everybody waits, or is stalled: nobody takes seconds between two statements."""
        self.let_some_go_on()
        if self.hub.runnable():
            return
        seconds = self.rng.choices((1.0, 6.0, 15.0, 60.0, 200.0, 3600.0, 200_000.0), (4, 6, 6, 6, 4, 1, 0.3))[0]
        wake = self.hub.next_wake()
        if wake is None and self.rng.random() < 0.6:
            ((due,),) = self.house.server.look(NEXT_DUE)
            seconds = max(due or 0.0, 0.0) + 0.01
        self.advance(seconds if wake is None else min(seconds, wake - self.hub.now))

    def advance(self, seconds: float) -> None:
        if not self.script.calm:
            check_now(self.house)
        self.hub.now += seconds
        self.hub.steps.append(f"{self.hub.now:.3f} {seconds:.1f} s have passed")
        for task in self.hub.tasks:
            self.outlast(task, seconds)
        stalled = self.hub.stalled
        self.hub.stalled = {name: until for name, until in stalled.items() if until > self.hub.now}
        if not self.script.calm:
            self.processes.beats([name for name in WORKERS if name not in self.hub.stalled])
        self.btsss.let_time_pass()
        self.va_notify.let_time_pass()

    def outlast(self, task: Task, seconds: float) -> None:
        """Postgres's own limits: on waiting for a lock, and on standing idle inside a transaction."""
        if task.blocked_on is not None and seconds >= LOCK_SECONDS:
            task.troubled = True
            task.blocked_on.give_up_waiting()
        elif seconds >= IDLE_SECONDS:
            for connection in [each for each in task.connections if each.in_transaction]:
                task.troubled = True
                connection.lose()

    # -- the end ------------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """All faults off: everything ends, or rests in a case. Then operators requeue, and it ends for good."""
        self.script.calm = self.hub.calm = True
        self.hub.stalled = {}
        self.finish_tasks()
        self.work_off()
        self.check_rest()
        parked = self.messages("parked")
        self.parked_seen = len(parked)
        if parked and self.rng.random() < 0.5:
            for message_id in parked:
                self.processes.reopen(message_id)
            self.finish_tasks()
            self.work_off()
            self.check_rest()

    def finish_tasks(self) -> None:
        while self.hub.tasks:
            runnable = self.hub.runnable()
            if runnable:
                self.go_on(runnable[0])
            else:
                wake = self.hub.next_wake()
                self.advance(max(wake - self.hub.now, 0.0) if wake is not None else LOCK_SECONDS)

    def work_off(self) -> None:
        for _ in range(MOST_ROUNDS):
            self.processes.relay_round("relay-1")
            self.finish_tasks()
            worked = False
            for queue in QUEUES:
                while self.redis.waiting(queue.name):
                    worked = True
                    self.processes.take_pointer("worker-1", queue)
                    self.finish_tasks()
            if not worked:
                self.processes.beats(list(WORKERS))
                ((seconds,),) = self.house.server.look(NEXT_DUE)
                if seconds is None:
                    return
                self.advance(max(seconds, 0.0) + 0.01)
        left = self.house.server.look(
            "SELECT id, job, state, unresolved_why FROM outbox_messages WHERE state <> 'parked'"
        )
        raise PromiseBroken(f"the work does not come to its end: {left}")

    def check_rest(self) -> None:
        check_now(self.house)
        check_end(self.house, self.processes.accepted, self.btsss, self.va_notify)
