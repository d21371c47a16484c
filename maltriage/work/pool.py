"""A pool of processes that outlives the death of those that have nothing to do.

Pebble replaces a process that dies at a task. Where one dies and no task is in hand, as when the
system takes an idle one because memory runs out, it takes that for a process that cannot start, and
gives the whole pool up.
"""

from __future__ import annotations

from typing import Any

from pebble import ProcessPool
from pebble.pool.process import PoolManager, TaskManager

from maltriage.work.channels import Lines

MAX_DEATHS = 16
"""Processes that may die idle, one after another without a task done in between: more cannot so
much as start."""


class _Manager(PoolManager):
    """Replaces those that die idle, too."""

    def __init__(self, context: Any, processes: Any) -> None:
        super().__init__(context, processes)
        self._deaths = 0
        self.task_manager = TaskManager(self._done)
        self.worker_manager = Lines(context.workers, context.worker_parameters, processes)

    def _done(self) -> None:
        self._deaths = 0
        self.context.task_queue.task_done()

    def find_expired_task(self, worker_id: int) -> Any:
        running = any(task.worker_id for task in tuple(self.task_manager.tasks.values()))
        if not running and self._deaths < MAX_DEATHS:
            self._deaths += 1
            raise LookupError("it had none")
        return super().find_expired_task(worker_id)


class LastingPool(ProcessPool):
    """As its base; the arguments, given by name, are those."""

    def __init__(self, *, context: Any, **more: Any) -> None:
        super().__init__(context=context, **more)
        self._pool_manager = _Manager(self._context, context)
