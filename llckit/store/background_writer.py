"""Writing checkpoints while training goes on."""

import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from llckit.errors import InputError
from llckit.store.checkpoint_store import CheckpointStore
from llckit.store.encoding import copied
from llckit.store.metadata import Scalar, as_scalar

__all__ = ["BackgroundWriter"]

MAX_QUEUED = 2  # checkpoints in memory


class _Queued(NamedTuple):
    """A checkpoint that is still to be written."""

    step: int
    state: Mapping[str, Tensor]
    metadata: Mapping[str, Scalar]


class BackgroundWriter:
    """Saves checkpoints in the order of the calls, one thread at a time.

    Each `put` starts a thread, which waits for its turn, saves whatever is queued and ends. So an idle recorder has no
    thread, and nothing is ever queued without a thread that will write it. The threads are no daemons: the interpreter
    waits for them when it exits.

    Args:
        store: Where to save.
    """

    def __init__(self, store: CheckpointStore):
        self._store = store
        self._process = os.getpid()
        self._queue: deque[_Queued] = deque()
        self._queue_changed = threading.Condition()
        self._writing = threading.Lock()
        self._failures: list[str] = []

    @property
    def is_of_this_process(self) -> bool:
        """False after a fork: a child has none of the threads, and the queue is its parent's to write."""
        return self._process == os.getpid()

    def put(self, owner: object, step: int, state: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
        """Copy a checkpoint and queue it; waits while the queue is full.

        Args:
            owner: An object to keep alive until the checkpoint is written.
            step: Training step.
            state: Weights by name.
            metadata: Scalars to keep beside the weights.
        """
        scalars = {key: as_scalar(key, value) for key, value in metadata.items()}
        with self._queue_changed:
            self._queue_changed.wait_for(lambda: len(self._queue) < MAX_QUEUED)
        checkpoint = _Queued(step, copied(state), scalars)
        with self._queue_changed:
            # The thread starts first and waits for this lock, so an interrupt in between leaves nothing behind.
            # It has a reference to the owner, so the owner's finaliser runs after the thread has ended.
            threading.Thread(target=self.drain, args=(owner,), name="llckit-recorder").start()
            self._queue.append(checkpoint)

    def drain(self, _owner: object | None = None) -> None:
        """Write what is queued, and wait for what another thread is writing."""
        with self._writing:
            while True:
                with self._queue_changed:
                    if not self._queue:
                        return
                    checkpoint, failure = self._queue[0], None
                try:
                    self._store.put(checkpoint.step, checkpoint.state, checkpoint.metadata)
                except Exception as error:
                    # Only the message is kept, since the error's traceback would keep the weights in memory.
                    reason = str(error) if isinstance(error, InputError) else repr(error)
                    failure = f"step {checkpoint.step} was not saved: {reason}"
                del checkpoint
                with self._queue_changed:
                    if failure:
                        self._failures.append(failure)
                    self._queue.popleft()
                    self._queue_changed.notify_all()

    def take_failures(self) -> list[str]:
        """What could not be saved since the last call.

        Returns:
            One message per checkpoint.
        """
        with self._queue_changed:
            failures, self._failures = self._failures, []
        return failures

    def finish(self) -> None:
        """Write what is queued and print failures: for the end of the recorder or of the interpreter."""
        if self.is_of_this_process:
            self.drain()
            for failure in self.take_failures():
                print(f"llckit: {failure}", file=sys.stderr)
