"""The events that strike the processes of a story: everything that may go wrong, and everybody who interferes."""

from __future__ import annotations

from psycopg2 import errors

from outbox import rq_side
from outbox.values import QueueSpec
from tests.simulator.hub import Task
from tests.simulator.processes import RELAYS, WORKERS
from tests.simulator.stage import Stage

# Where a worker may die with a requeue: taken, noted as begun, reopening, reopened, ended.
STEPS_OF_REQUEUE = ("after Redis eval", "after Redis lrem", "before COMMIT", "after COMMIT", "after Redis delete")
# Attempts are granted, and nothing has begun.
GRANTED = "after UPDATE outbox_messages, INSERT INTO outbox_attempts"
# Nobody moves while this waits, so a lock on the row that is held now is never released.
DELETE = "SET lock_timeout = '50ms'; DELETE FROM outbox_messages WHERE id = %s"
# Those of which a write may have happened: they are the ones that a repair must not send again unseen.
IN_DOUBT = """
    SELECT id FROM outbox_messages
     WHERE state IN ('later', 'ready', 'published') AND unresolved_since IS NOT NULL ORDER BY id
"""
STATUSES = ("delivered", "delivered", "permanent-failure", "temporary-failure", "sending")


class Events(Stage):
    """One method for each event. Where it finds nothing to strike, nothing happens."""

    def nothing(self) -> None:
        """A step without an event."""

    def act(self, event: str) -> None:
        getattr(self, event.replace(" ", "_"))()

    # -- processes ----------------------------------------------------------------------------------

    def beat(self) -> None:
        self.processes.beat(self.rng.choice(WORKERS))

    def sweep(self) -> None:
        self.processes.sweep()

    def ask(self) -> None:
        self.scene.ask(self.processes, self.rng)

    def stall(self) -> None:
        """SIGSTOP, and later SIGCONT: everything that the process was doing stops, and so do its heartbeats."""
        busy = sorted({task.owner for task in self.hub.tasks})
        if busy:
            seconds = self.rng.choice((5.0, 20.0, 70.0, 150.0, 600.0))
            self.hub.stalled[self.rng.choice(busy)] = self.hub.now + seconds

    def stop(self) -> None:
        """SIGTERM, by lot while a job is where that may do most harm."""
        name = self.rng.choice(WORKERS)
        if name in self.hub.stalled or self.processes.process_of(name).stopping.is_set():
            return
        waiting = [queue for queue in self.queues if self.redis.waiting(queue.name)]
        place = self.rng.choice((None, self.scene.place, "asleep", GRANTED))
        if waiting and place is not None:
            self.processes.take_pointers(name, self.rng.choice(waiting))
            self.go_far(self.hub.tasks[-1], place)
        self.processes.stop(name)

    def mistake_for_dead(self) -> None:
        """A worker stops in the middle of a job until the others have given it up, and then goes on."""
        waiting = [queue for queue in self.queues if self.redis.waiting(queue.name)]
        if self.hub.stalled:
            return
        if waiting:
            self.processes.take_pointers(self.rng.choice(WORKERS), self.rng.choice(waiting))
            self.go_far(self.hub.tasks[-1], self.rng.choice((self.scene.place, "asleep")))
        jobs = self.jobs()
        if jobs:
            until = self.hub.now + self.rng.choice((15.0, 40.0, 200.0, 200.0))
            self.hub.stalled[self.rng.choice(jobs).owner] = until
            self.carry_on(until)

    def go_far(self, task: Task, place: str) -> None:
        """Run the task, and then the jobs that it began, to that place, or until they wait for an upstream, or have
        ended; nobody else moves."""
        while not any(place in each.place for each in (task, *task.started)):
            going = [each for each in (task, *task.started) if each in self.hub.runnable()]
            if not going:
                return
            self.go_on(going[0])

    def carry_on(self, until: float) -> None:
        """The others find out, and take over the work of the stopped worker."""
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
        """Kill one of the processes that are doing something."""
        busy = sorted({task.owner for task in self.hub.tasks} & {*RELAYS, *WORKERS})
        if busy:
            name = self.rng.choice(busy)
            self.hub.crashes[f"{name.split('-')[0]} anywhere"] += 1
            self.hub.kill(name)
            self.processes.begin(name)

    def lose_thread(self) -> None:
        """One job of a worker ends without a word, as when memory runs out. Its process lives on and keeps its
        heartbeat."""
        jobs = [task for task in self.jobs() if task.is_thread]
        if jobs:
            self.befall("a thread ends without a word")
            self.hub.kill_one(self.rng.choice(jobs))

    # -- operators, callbacks, the kiosk ------------------------------------------------------------

    def messages(self, states: str) -> list[int]:
        query = "SELECT id FROM outbox_messages WHERE state = ANY(string_to_array(%s, ' ')) ORDER BY id"
        return [row[0] for row in self.product.server.look(query, states)]

    def reopen(self) -> None:
        found = self.messages("parked")
        if found:
            self.processes.reopen(self.rng.choice(found))

    def shown(self) -> list[tuple[QueueSpec, str]]:
        """What the dashboard shows as failed."""
        return [(queue, name) for queue in self.queues for name in sorted(rq_side.failed_ids(self.redis, queue.name))]  # type: ignore[arg-type]

    def die_with_requeue(self) -> None:
        """A worker ends somewhere between the taking of a requeue and its last command to Redis."""
        waiting = [queue for queue in self.queues if self.redis.waiting(queue.name)]
        if not waiting:
            return
        self.befall("a worker dies with a requeue")
        self.processes.take_pointers("worker-2", waiting[0])
        self.go_far(self.hub.tasks[-1], self.rng.choice(STEPS_OF_REQUEUE))
        self.hub.kill("worker-2")
        self.processes.begin("worker-2")

    def requeue(self) -> None:
        shown = self.shown()
        if shown:
            queue, name = self.rng.choice(shown)
            self.processes.requeue(name, queue)

    def park(self) -> None:
        found = self.messages("later ready published")
        if found:
            self.processes.park(self.rng.choice(found))

    def callback(self) -> None:
        taken = list(self.upstreams["va_notify"].holds)
        if taken:
            self.processes.call_back(self.rng.choice(taken), self.rng.choice(STATUSES), self.rng.choice((0.0, 30.0)))

    def elsewhere(self) -> None:
        self.scene.elsewhere(self.upstreams, self.rng)

    def outage(self) -> None:
        self.script.outages ^= {self.rng.choice(list(self.upstreams))}

    def poll(self) -> None:
        self.processes.poll_documents()

    def repair(self) -> None:
        self.befall("a repair")
        self.processes.repair()

    def damage(self) -> None:
        """A message is deleted by hand, and somebody has it repaired at once, before anybody else moves."""
        found = [row[0] for row in self.product.server.look(IN_DOUBT)] or self.messages("later ready published")
        if not found or self.hub.tasks_of("product"):
            return
        self.befall("a message deleted, and repaired")
        try:
            self.product.server.look(DELETE, self.rng.choice(found))
        except errors.LockNotAvailable:
            return
        self.script.calm = self.hub.calm = True
        self.processes.repair()
        self.finish(self.hub.tasks[-1])
        self.script.calm = self.hub.calm = False

    def finish(self, task: Task) -> None:
        while task in self.hub.runnable():
            self.go_on(task)

    # -- Redis and Postgres -------------------------------------------------------------------------

    def befall(self, what: str) -> None:
        self.script.met[what] += 1
        self.hub.steps.append(f"{self.hub.now:.3f} {what}")

    def flush(self) -> None:
        self.befall("Redis flushed")
        self.redis.flush()

    def lose_pointer(self) -> None:
        queue = self.rng.choice(self.queues)
        if self.redis.waiting(queue.name):
            self.befall("a pointer lost")
            self.redis.data.lists[f"rq:queue:{queue.name}"].pop(0)

    def bring_back(self) -> None:
        """Bring back a pointer of outstanding work, since another would prove little; somebody takes it at once."""
        outstanding = {str(message_id).encode() for message_id in self.messages("ready published running parked")}
        found = [
            index for index, (_, name, _) in enumerate(self.redis.pushed) if name.partition(b"-")[0] in outstanding
        ]
        if found:
            self.befall("an old pointer back")
            queue = self.redis.bring_back(self.rng.choice(found))
            self.processes.take_pointers(
                self.rng.choice(WORKERS), next(each for each in self.queues if each.name == queue)
            )

    def snapshot(self) -> None:
        """Keep a snapshot, or go back to one that was kept."""
        if self.kept and self.rng.random() < 0.5:
            self.befall("Redis restored from an old snapshot")
            self.redis.data = self.kept.pop()
        else:
            self.kept.append(self.redis.snapshot())

    def restart(self) -> None:
        self.befall("restart of Postgres")
        self.product.server.restart()
