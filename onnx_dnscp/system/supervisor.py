"""The process that watches the one that works: a file on which ONNX Runtime crashes ends with a sentence all the same.

Nothing heavy is imported here: the child is a copy of a process that holds next to nothing, and does all the imports.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

MODEL_ERROR = 3  # as of `errors.ModelError`
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
_BOARD_SIZE = 4096  # bytes; no path is longer
_DIED = 128  # and the signal's number: what shells say of a process that a signal has ended

_board: mmap.mmap | None = None  # shared with the parent: which model is at work


def working_on(path: Path) -> None:
    """Tell the watching process, if there is one, which model is about to be loaded."""
    if _board is not None:
        name = os.fsencode(path)[:_BOARD_SIZE]
        _board[:] = name.ljust(_BOARD_SIZE, b"\0")


def supervised(work: Callable[[], int]) -> int:
    """The exit code of `work`, which runs in a child process where the system has fork.

    Signals are passed on to the child. It has a process group of its own, so that Ctrl-C reaches it only once, and ends
    when this process does. In the child, this function returns as well.
    """
    if sys.platform == "win32":
        return work()
    global _board
    _board = mmap.mmap(-1, _BOARD_SIZE)
    passed_on = (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT)
    signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
    watched, held = os.pipe()
    child = os.fork()
    if child:
        os.close(watched)
        for number in passed_on:
            signal.signal(number, _pass_on_to(child))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
        return _exit_code(os.waitpid(child, 0)[1], bytes(_board).rstrip(b"\0"))
    os.close(held)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a terminal may stop those who write from another group
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
    return work()


def _pass_on_to(child: int) -> Callable[[int, FrameType | None], None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            os.kill(child, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os.kill(child, number)

    return pass_on


def _end_with_parent(watched: int) -> None:
    os.read(watched, 1)  # nothing is ever written: this ends when the parent's end is closed
    os.kill(os.getpid(), signal.SIGKILL)


def _exit_code(status: int, model: bytes) -> int:
    """What to exit with, after a word on what the child died of if it did."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    path = repr(os.fsdecode(model)) if model else ""
    if name in _CRASHES and model:
        _say(
            f"ONNX Runtime crashes ({name}) on the model {path}; no model was written. The file is damaged or needs "
            "what the runtime cannot do: export it again, or try it with another version of ONNX Runtime."
        )
        return MODEL_ERROR
    if name == "SIGKILL":
        _say(f"The process was killed{' with the model ' * bool(path)}{path}, as systems do that run out of memory.")
    else:
        _say(f"The process ended by {name}.")
    return _DIED - code


def _say(message: str) -> None:
    print(f"Error: {message}", file=sys.stderr)
