"""One run in several processes, each on its own device (DistributedDataParallel).

Every batch is divided among them, and the gradient is that of the whole batch. Batch norm works
on each process's part, and the running statistics are those of the first process. The first
process scores the epochs and writes the checkpoints; the parent only watches. Processes
communicate by gloo on CPUs and by NCCL on CUDA devices.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from torch import Tensor

from maltriage.errors import MaltriageError
from maltriage.learn.fit.checkpoint import LAST, State, load_checkpoint
from maltriage.learn.fit.data import Images
from maltriage.learn.fit.devices import Together, pick_device
from maltriage.learn.fit.loop import Fitted, Tick, fit
from maltriage.learn.fit.recipe import FitOptions
from maltriage.learn.fit.restore import restore_net
from maltriage.learn.nets.base import Net

Job = tuple[Images, dict[str, Tensor], FitOptions, State, Path, Sequence[Net] | None]
"""Images, samples of each part, options, initial state, the run's folder, teachers."""
PATIENCE = timedelta(hours=2)
"""Timeout of processes that wait for each other: while the first one scores an epoch, say."""
POLL = 0.1
"""Seconds between checks for a stop."""


def fit_together(
    images: Images,
    parts: dict[str, Tensor],
    options: FitOptions,
    start: State,
    folder: Path,
    *,
    teachers: Sequence[Net] | None = None,
    progress: Callable[[Tick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fitted:
    """Like `fit`, in `options.devices` processes.

    Raises:
        MaltriageError: see `fit`; or a process died, or there are fewer devices than asked for.
    """
    options.check()
    kind = pick_device(options.accelerator, options.devices - 1).type
    if kind == "cpu" and not options.threads:
        options = replace(options, threads=max(1, torch.get_num_threads() // options.devices))
    context = multiprocessing.get_context("spawn")  # torch has threads, which a fork would lose
    stopped = context.Event()
    job = (images, parts, options, start, folder, teachers)
    crew, pipes = list[SpawnProcess](), list[Connection]()
    with tempfile.TemporaryDirectory() as meeting:
        try:
            for rank in range(options.devices):
                ours, theirs = context.Pipe(duplex=False)
                place = (Path(meeting) / "point").as_uri()
                work = (rank, kind, place, theirs, stopped, job)
                crew.append(context.Process(target=_work, args=work, daemon=True))
                crew[-1].start()
                theirs.close()  # or its end would go unnoticed
                pipes.append(ours)
            _watch(pipes, progress or (lambda tick: None), stop or (lambda: False), stopped.set)
        finally:
            for process in crew:
                process.kill()
                process.join()
    tensors, state = load_checkpoint(folder / LAST)
    whole = state.epoch >= options.epochs or state.best_epoch is not None
    return Fitted(restore_net(tensors, state, folder / LAST), state, interrupted=not whole)


def _watch(
    pipes: Sequence[Connection],
    progress: Callable[[Tick], None],
    stop: Callable[[], bool],
    ask: Callable[[], None],
) -> None:
    """Forward the processes' messages until all are done, and the request to stop."""
    waiting = list(pipes)
    while waiting:
        if stop():
            ask()
        for pipe in wait(waiting, POLL):
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except EOFError as error:
                raise MaltriageError(
                    "a process of the training died; --resume goes on from the last checkpoint"
                ) from error
            if isinstance(said, str):
                raise MaltriageError(said)
            if said is None:
                waiting.remove(pipe)
            else:
                progress(said)


def _work(rank: int, kind: str, meeting: str, pipe: Connection, stopped: Event, job: Job) -> None:
    """Run one process. It sends ticks (only the first process), then None or its error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent asks to stop, all at the same step
    parent = multiprocessing.parent_process()
    assert parent is not None
    images, parts, options, start, folder, teachers = job
    try:
        if kind == "cuda":
            torch.cuda.set_device(rank)
        elif sys.platform == "linux":  # otherwise gloo resolves the machine's name
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.distributed.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            init_method=meeting,
            rank=rank,
            world_size=options.devices,
            timeout=PATIENCE,
        )
        fit(
            images,
            parts,
            options,
            start,
            folder,
            teachers=teachers,
            progress=pipe.send if rank == 0 else None,
            stop=lambda: stopped.is_set() or not parent.is_alive(),
            crew=Together(),
        )
        pipe.send(None)
        torch.distributed.destroy_process_group()
    except (MaltriageError, OSError, RuntimeError) as error:
        pipe.send(str(error))
