"""Balance of clients among the worker processes of one gunicorn: each tells the others how many it has.

They share one listening socket, and whoever wakes up first takes the next client. A router keeps its connections open,
so one process might serve them all while the others have nothing to do. Here a process that has more clients than
another lets it go first, for a moment; and it ends kept-open connections, whose clients then come back to the other.
"""

from __future__ import annotations

import mmap
import struct
import time

# Monotonic seconds at which a process was last heard, the gunicorn whose it is (process id), and its number of clients.
ROW = struct.Struct("dqq")
SLOTS = 64
# Twice as long as the main loop of an idle worker sleeps; who was not heard for longer is not waited for.
HEARD_SECONDS = 2.5
LOOK_SECONDS = 0.01
# So long a client that has just come is left to a process that has fewer, and so long after one connection was ended
# the next one is.
YIELD_SECONDS = 0.02


class Board:
    """Memory that gunicorn's processes share: made in the first of them, before it makes the others."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, ROW.size * SLOTS)

    def write(self, slot: int, heard: float, owner: int, clients: int) -> None:
        ROW.pack_into(self.memory, slot * ROW.size, heard, owner, clients)

    def fewest(self, slot: int, owner: int, now: float) -> int | None:
        """The fewest clients that any other process of this gunicorn has; None where there is no other."""
        found = [
            clients
            for at, (heard, of, clients) in enumerate(ROW.iter_unpack(self.memory[:]))
            if at != slot and of == owner and now - heard < HEARD_SECONDS
        ]
        return min(found, default=None)


BOARD = Board()


class Balance:
    """One process's part: `tell` from the main loop, `lets_go_first` before it takes a client, `sheds` before a thread
    answers one. `owner` is the process id of its gunicorn, `age` gunicorn's number of the process."""

    def __init__(self, owner: int, age: int, board: Board = BOARD) -> None:
        self.owner = owner
        self.slot = age % SLOTS
        self.board = board
        self.clients = 0
        self.fewest: int | None = None
        self.look_at = self.yields_until = self.shed_at = 0.0

    def tell(self, clients: int) -> None:
        now = time.monotonic()
        self.clients = clients
        self.board.write(self.slot, now, self.owner, clients)
        if now >= self.look_at:
            self.look(now)

    def look(self, now: float) -> None:
        self.look_at = now + LOOK_SECONDS
        self.fewest = self.board.fewest(self.slot, self.owner, now)

    def leave(self) -> None:
        """This process takes no more clients: nobody is to leave any to it."""
        self.board.write(self.slot, 0.0, self.owner, 0)

    def lets_go_first(self, clients: int) -> bool:
        """Whether to leave the client that has come to another process, until `yields_until` (monotonic). Who is still
        there afterwards is taken."""
        now = time.monotonic()
        self.look(now)
        if self.fewest is None or clients <= self.fewest or now < self.yields_until + YIELD_SECONDS:
            return False
        self.yields_until = now + YIELD_SECONDS
        return True

    @property
    def yields_for(self) -> float:
        """Seconds for which it still leaves clients to others; zero or less for none."""
        return self.yields_until - time.monotonic()

    def sheds(self) -> bool:
        """Whether to end the connection that is answered now: another process has at least two clients fewer."""
        now = time.monotonic()
        if self.fewest is None or self.clients < self.fewest + 2 or now < self.shed_at:
            return False
        self.shed_at = now + YIELD_SECONDS
        return True
