"""A bar on the terminal for what takes a while; nothing where standard error is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(what: str, total: int, *, bytes_: bool = False) -> Iterator[Callable[[int], None]]:
    """Give what is told how much more is done, in records or in bytes."""
    console = Console(stderr=True)
    done = DownloadColumn() if bytes_ else MofNCompleteColumn()
    columns = (TextColumn(what), BarColumn(), done, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total or None)

        def advance(more: int) -> None:
            bar.advance(task, more)

        yield advance
