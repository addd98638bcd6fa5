"""Checkpoints written while training goes on."""

import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from llckit.errors import InputError
from llckit.store.encoding import copied
from llckit.store.manifest import Scalar, as_scalar
from llckit.store.store import CheckpointStore

__all__ = ["Writer"]

QUEUE = 2  # checkpoints in memory


class Queued(NamedTuple):
    """A checkpoint to be written."""

    step: int
    state: Mapping[str, Tensor]
    metadata: Mapping[str, Scalar]


class Writer:
    """Saves checkpoints in the order they came in, one thread at a time.

    Each `put` starts a thread, which waits for its turn, saves whatever is queued and ends. So an idle recorder
    has no thread, nothing is ever queued without a thread to come, and since these are no daemons, the
    interpreter waits for them when it exits.
    """

    def __init__(self, store: CheckpointStore):
        self.store = store
        self.process = os.getpid()
        self.queue: deque[Queued] = deque()
        self.changed = threading.Condition()
        self.turn = threading.Lock()
        self.failures: list[str] = []

    def put(self, owner: object, step: int, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
        """Copy a checkpoint and queue it; waits while the queue is full.

        Args:
            owner: What is to live until it is written.
            step: The step.
            state: Its weights.
            metadata: What to keep beside them.
        """
        scalars = {key: as_scalar(key, value) for key, value in metadata.items()}
        with self.changed:
            self.changed.wait_for(lambda: len(self.queue) < QUEUE)
        checkpoint = Queued(step, copied(state), scalars)
        with self.changed:
            # First the thread, which then waits for this lock: an interrupt in between leaves nothing behind.
            # It holds the recorder, so that the recorder's end comes after that of its threads.
            threading.Thread(target=self.drain, args=(owner,), name="llckit-recorder").start()
            self.queue.append(checkpoint)

    def drain(self, _owner: object | None = None) -> None:
        """Write what is queued, and wait for what another thread is writing."""
        with self.turn:
            while True:
                with self.changed:
                    if not self.queue:
                        return
                    checkpoint, failure = self.queue[0], None
                try:
                    self.store.put(checkpoint.step, checkpoint.state, checkpoint.metadata)
                except Exception as error:
                    # Not the error itself, whose traceback would keep the weights in memory.
                    reason = str(error) if isinstance(error, InputError) else repr(error)
                    failure = f"step {checkpoint.step} was not saved: {reason}"
                del checkpoint
                with self.changed:
                    if failure:
                        self.failures.append(failure)
                    self.queue.popleft()
                    self.changed.notify_all()

    def take_failures(self) -> list[str]:
        """What could not be saved, told once.

        Returns:
            A sentence each.
        """
        with self.changed:
            failures, self.failures = self.failures, []
        return failures

    def finish(self) -> None:
        """When nobody can ask any more: at the end of the recorder or of the interpreter."""
        if self.process == os.getpid():
            self.drain()
            for failure in self.take_failures():
                print(f"llckit: {failure}", file=sys.stderr)
