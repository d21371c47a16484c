"""Spinners and progress bars of commands that do not scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

    from maltriage.learn.fit.loop import Tick


Trained = TypeVar("Trained")


class ShowTick(Protocol):
    """Shows the progress of a training."""

    def __call__(self, tick: Tick, where: str = "") -> None: ...


@contextmanager
def status(console: Console, text: str, *, enabled: bool) -> Iterator[None]:
    """A spinner on a terminal, nothing elsewhere."""
    if not (enabled and console.is_terminal):
        yield
        return
    with console.status(text):
        yield


@contextmanager
def bar(console: Console, text: str, *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere. Yields a function of (done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not (enabled and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def training_bar(console: Console, enabled: bool) -> Iterator[ShowTick]:
    """Epoch, loss, macro-F1 and time left, on a terminal. Yields a function of a Tick."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    hidden = not (enabled and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("training", total=None, figures="")

        def show(tick: Tick, where: str = "") -> None:
            score = "" if tick.macro_f1 is None else f"  macro-F1 {tick.macro_f1:.3f}"
            minutes, seconds = divmod(round(tick.seconds_left), 60)
            progress.update(
                task,
                description=f"{where}epoch {tick.epoch}/{tick.epochs}",
                total=tick.epochs * tick.steps,
                completed=(tick.epoch - 1) * tick.steps + tick.step,
                figures=f"loss {tick.loss:.3f}{score}  {minutes}:{seconds:02d} left",
            )

        yield show


def between_bars(
    console: Console, enabled: bool, begin: Callable[[ShowTick], Iterator[Trained]]
) -> Iterator[Trained]:
    """Yield what is trained one after the other, with a bar while each is trained and none while
    the caller looks at it: a terminal has one bar at a time.

    Args:
        begin: gives the trainings, which show their progress by its argument.
    """
    draw = list[ShowTick]()
    trained = begin(lambda tick, where="": draw[-1](tick, where))
    while True:
        with training_bar(console, enabled) as show:
            draw[:] = [show]
            done = next(trained, None)
        if done is None:
            return
        yield done
