"""The stage of one seed: the processes and what they talk to, whose turn it is, and how time passes."""

from __future__ import annotations

from random import Random

from tests.simulator.hub import Hub, PromiseBroken, Task
from tests.simulator.processes import RELAYS, WORKERS, Processes
from tests.simulator.product import Product
from tests.simulator.promises import check_now
from tests.simulator.scenes import built, scene_of
from tests.simulator.script import Script
from tests.simulator.scripted_redis import Data, ScriptedRedis

MOST_TASKS = 6
LOCK_SECONDS, IDLE_SECONDS = 10.0, 60.0
# How long until something is due: work, an open breaker's probe, a lost pointer, a dead worker.
NEXT_DUE = """
    SELECT extract(epoch FROM min(at) - outbox_now())::float FROM (
        SELECT due_at AS at FROM outbox_messages WHERE state = 'later'
        UNION ALL SELECT poll_due_at FROM form526_document_submissions WHERE poll_due_at IS NOT NULL
        UNION ALL SELECT outbox_now() + interval '6 s' FROM outbox_messages WHERE state IN ('published', 'running')
        UNION ALL SELECT GREATEST(g.open_until, outbox_now() + interval '2 s') FROM outbox_messages m
            LEFT JOIN outbox_breakers g ON g.upstream = m.upstream WHERE m.state = 'ready'
    ) due
"""


class Stage:
    def __init__(self, product: Product, seed: int) -> None:
        self.product, self.seed = product, seed
        self.rng = Random(f"story {seed}")
        product.rng.seed(f"product {seed}")
        self.script = Script(self.rng)
        self.hub = hub = Hub(self.script.crashes_here, product.server.cancel)
        self.redis = ScriptedRedis(hub, self.script.fails)
        self.scene = scene_of(seed)
        self.queues = self.scene.queues
        self.upstreams = built(self.scene, seed, hub, self.script.fate, self.check_upstream)
        product.server.loses, product.server.restarts = self.script.loses, 0
        product.move_in(hub, self.redis, self.scene.flows, self.upstreams)
        self.scene.prepare(product, self.rng)
        self.processes = Processes(product, hub, self.redis, self.queues)
        self.last: Task | None = None
        self.kept: list[Data] = []

    def check_upstream(self, task: Task) -> None:
        self.processes.check_upstream(task)

    # -- whose turn it is ---------------------------------------------------------------------------

    def let_some_go_on(self) -> None:
        """A few steps of tasks that can go on: mostly of the same one, so that stories also get somewhere."""
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
        """Forget a dead process; nothing of it goes on. Its successor has another name."""
        if owner in (*RELAYS, *WORKERS):
            self.processes.begin(owner)

    def go_about(self) -> None:
        """Ordinary work between the events: work is taken, or time passes."""
        waiting = [queue for queue in self.queues if self.redis.waiting(queue.name)]
        if len(self.hub.tasks) >= MOST_TASKS:
            return
        if waiting and self.rng.random() < 0.8:
            self.processes.take_pointers(self.rng.choice(WORKERS), self.rng.choice(waiting))
            return
        self.pass_time()
        self.processes.relay_round(self.rng.choice(RELAYS))

    # -- time ---------------------------------------------------------------------------------------

    def pass_time(self) -> None:
        """Time passes only while everybody waits or is stalled: nobody takes seconds between two statements."""
        self.let_some_go_on()
        if self.hub.runnable():
            return
        seconds = self.rng.choices((1.0, 6.0, 15.0, 60.0, 200.0, 3600.0, 200_000.0), (4, 6, 6, 6, 4, 1, 0.3))[0]
        wake = self.hub.next_wake()
        if wake is None and self.rng.random() < 0.6:
            ((due,),) = self.product.server.look_again(NEXT_DUE)
            seconds = max(due or 0.0, 0.0) + 0.01
        self.advance(seconds if wake is None else min(seconds, wake - self.hub.now))

    def advance(self, seconds: float) -> None:
        if not self.script.calm:
            check_now(self.product, self.scene.wrong_now)
        self.hub.now += seconds
        self.hub.steps.append(f"{self.hub.now:.3f} {seconds:.1f} s have passed")
        for task in self.hub.tasks:
            self.outlast(task, seconds)
        stalled = self.hub.stalled
        self.hub.stalled = {name: until for name, until in stalled.items() if until > self.hub.now}
        if not self.script.calm:
            self.processes.beats([name for name in WORKERS if name not in self.hub.stalled])
        for upstream in self.upstreams.values():
            upstream.let_time_pass()

    def outlast(self, task: Task, seconds: float) -> None:
        """Postgres's own limits: on waiting for a lock, and on being idle inside a transaction."""
        if task.blocked_on is not None and seconds >= LOCK_SECONDS:
            task.troubled = True
            task.blocked_on.give_up_waiting()
        elif seconds >= IDLE_SECONDS:
            for connection in [each for each in task.connections if each.in_transaction]:
                task.troubled = True
                connection.lose()
