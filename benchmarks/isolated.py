"""Measurements in a process of their own: a crash or a hang is a row of the table and no more."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def in_process(measure: Callable[..., None], arguments: tuple[Any, ...], timeout: float) -> dict[str, Any]:
    """What `measure(connection, *arguments)` sends, or what became of its process."""
    context = multiprocessing.get_context("forkserver")  # the server has the package imported; a child dies alone
    context.set_forkserver_preload([measure.__module__])
    answer, write_end = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(write_end, *arguments))
    process.start()
    write_end.close()
    try:
        if answer.poll(timeout):
            return dict(answer.recv())
        return {"verdict": "crash", "reason": f"not done after {timeout} s"}
    except EOFError:
        process.join()
        return {"verdict": "crash", "reason": f"the process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()
