"""What a child process does that opens foreign files: answer requests, within its memory.

Native libraries print to file descriptors 1 and 2; both are pointed at stderr before any of them
is loaded, so nothing but our messages reaches the pipe. `child` is the other side.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from numpy.typing import NDArray

from toolchain.errors import MachineError, ModelError, ToolchainError
from toolchain.runtimes.wire import Message, receive, send


def serve(answers: Mapping[str, Callable[..., Message]]) -> None:
    """Answer requests until the parent closes the pipe.

    Args:
      answers: name of a request -> what answers it, from its arrays and its fields.
    """
    # Ctrl-C reaches the whole group of processes; the parent ends this one in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _private_pipes()
    known = {"limit": _limit, **answers}
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            send(replies, *_answer(known, *receive(requests)))


def _answer(
    answers: Mapping[str, Callable[..., Message]],
    header: dict[str, Any],
    arrays: list[NDArray[Any]],
) -> Message:
    """The reply to one request; an expected error is a reply too."""
    try:
        return answers[header.pop("ask")](*arrays, **header)
    except ToolchainError as error:
        told = {"what": error.what, "where": error.where, "remedy": error.remedy}
        return {"error": {"class": type(error).__name__, **told}}, []
    except MemoryError:
        given = resource.getrlimit(resource.RLIMIT_AS)[0] // 2**20
        told = {
            "what": f"the file needs more than the {given:,} MiB it is given",
            "where": "",
            "remedy": "the file is damaged or too large for this machine",
        }
        return {"error": {"class": ModelError.__name__, **told}}, []


def _limit(memory_mib: int) -> Message:
    # A crash of foreign code must not fill the disk with a core dump.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mib:
        _limit_memory(memory_mib * 2**20)
    return {}, []


def _limit_memory(limit: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError) as error:
        raise MachineError(f"the memory of the child cannot be limited: {error}") from error


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests, replies
