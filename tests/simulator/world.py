"""One seed from its first step to its rest: events in an unlikely order, then everything is well.

The story is drawn from the seed only; played twice it is the same, step by step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from outbox.values import QueueSpec
from tests.simulator.events import Events
from tests.simulator.hub import PromiseBroken
from tests.simulator.processes import RELAYS, WORKERS
from tests.simulator.promises import check_audit, check_now, check_redis
from tests.simulator.stage import LOCK_SECONDS, NEXT_DUE

# A probe whose thread ended without a word blocks others until its lease ends, two seconds a round.
MOST_ROUNDS = 100


@dataclass
class Story:
    """What became of one seed. `broken` is empty when every promise was kept."""

    seed: int
    steps: list[str]
    broken: list[str]
    crashes: Counter[str]
    faults: Counter[str]
    accepted: int


class World(Events):
    def tell(self) -> Story:
        broken: list[str] = []
        try:
            self.open()
            for _ in range(self.scene.events):
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
        return Story(self.seed, self.hub.steps, broken, self.hub.crashes, met, accepted)

    def open(self) -> None:
        """Somebody posts, or several do at once, and often the first worker that takes it is the first to go wrong."""
        if self.scene.first is not None and self.rng.random() < 0.4:
            self.begin_in_the_middle()
        for _ in range(self.rng.choice((1, 1, 4))):
            self.ask()
            for task in list(self.hub.tasks):
                self.go_far(task, "nowhere")
        self.processes.relay_round(self.rng.choice(RELAYS))
        for task in list(self.hub.tasks):
            self.go_far(task, "nowhere")
        if self.rng.random() < 0.4:
            self.mistake_for_dead()

    def begin_in_the_middle(self) -> None:
        assert self.scene.first is not None
        self.script.calm = self.hub.calm = True
        self.scene.first(self.processes, self.rng)
        self.finish_tasks()
        for queue in self.scene.first_queues:
            self.processes.relay_round("relay-1")
            self.finish_tasks()
            while self.redis.waiting(queue.name):
                self.work_at(queue)
        self.script.calm = self.hub.calm = False

    def end(self) -> None:
        for owner in {task.owner for task in self.hub.tasks}:
            self.hub.kill(owner)

    # -- the end ------------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """All faults off: everything ends, or rests in a case. Then operators requeue, and it ends for good."""
        self.script.calm = self.hub.calm = True
        self.hub.stalled = {}
        self.finish_tasks()
        self.work_off()
        self.check_rest()
        if self.messages("parked") and self.rng.random() < 0.7:
            self.let_operators_requeue()
            self.work_off()
            self.check_rest()

    def let_operators_requeue(self) -> None:
        """From the shell, or on the dashboard; a worker that takes one of the latter may die with it."""
        on_dashboard = self.rng.random() < 0.6
        for queue, name in self.shown() if on_dashboard else ():
            self.processes.requeue(name, queue)
        for message_id in () if on_dashboard else self.messages("parked"):
            self.processes.reopen(message_id)
        self.finish_tasks()
        if on_dashboard and self.rng.random() < 0.7:
            self.hub.calm = False
            self.die_with_requeue()
            self.hub.calm = True

    def finish_tasks(self) -> None:
        while self.hub.tasks:
            runnable = self.hub.runnable()
            if runnable:
                self.go_on(runnable[0])
            else:
                wake = self.hub.next_wake()
                self.advance(max(wake - self.hub.now, 0.0) if wake is not None else LOCK_SECONDS)

    def work_at(self, queue: QueueSpec) -> None:
        """Jobs of this queue from their taking to their end, while nobody else moves."""
        self.processes.take_pointers("worker-1", queue)
        self.finish_tasks()
        self.processes.check_redis()

    def work_off(self) -> None:
        for _ in range(MOST_ROUNDS):
            self.processes.poll_documents()
            self.finish_tasks()
            self.processes.relay_round("relay-1")
            self.finish_tasks()
            worked = False
            for queue in self.queues:
                while self.redis.waiting(queue.name):
                    worked = True
                    self.work_at(queue)
            if not worked:
                self.processes.beats(list(WORKERS))
                ((seconds,),) = self.product.server.look_again(NEXT_DUE)
                if seconds is None:
                    return
                self.advance(max(seconds, 0.0) + 0.01)
        left = self.product.server.look(
            "SELECT id, job, state, unresolved_why FROM outbox_messages WHERE state <> 'parked'"
        )
        raise PromiseBroken(f"the work does not come to its end: {left}")

    def check_rest(self) -> None:
        check_now(self.product, self.scene.wrong_now)
        check_audit(self.product)
        self.scene.check(self.product, self.processes.accepted, self.upstreams)
        check_redis(self.product, self.redis, self.queues)
