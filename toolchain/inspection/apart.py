"""Inspects a file of any origin in a child process, and that child: `python -m` of this module.

Reading runs nothing of a file, but a crafted one could still exhaust the memory or the patience of
the process that reads it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from toolchain.contract import Contract, parse_contract
from toolchain.inspection.read import inspect_file
from toolchain.inspection.scheme import Inspection
from toolchain.runtimes import find_contract
from toolchain.runtimes.carried import ContractError, check_file, damaged
from toolchain.runtimes.child import Child, memory_for
from toolchain.runtimes.serve import serve
from toolchain.runtimes.wire import Message
from toolchain.saved import made_of, to_plain

TIMEOUT_S: Final = 120.0


def inspect_apart(
    path: Path, *, memory_mib: int | None = None, timeout_s: float = TIMEOUT_S
) -> tuple[Inspection, Contract | None]:
    """What a file holds, as `inspect_file` says it, and the contract that it brings.

    A contract that cannot be read is none; `Inspection.contract_unread` says why.

    Args:
      path: a .tflite or .onnx file.
      memory_mib: most address space of the child, MiB; None is 4 GiB and six times the file.
      timeout_s: most seconds that it may take.

    Raises:
      ModelError: see `inspect_file` and `find_contract`; or it took too much memory or time.
    """
    check_file(path)
    memory_mib = memory_for(path) if memory_mib is None else memory_mib
    name = "toolchain.inspection.apart"
    with Child(name, path, memory_mib=memory_mib, timeout_s=timeout_s, doing="read") as child:
        reply, (text,) = child.ask("inspect", path=os.fspath(path.absolute()))
    try:
        inspection = made_of(Inspection, json.loads(text.tobytes()), path=path)
    except ValueError as error:
        raise damaged(path, error) from error
    carried = reply["contract"]
    return inspection, None if carried is None else parse_contract(carried, str(path))


def _inspect(path: str) -> Message:
    contract, unread = None, ""
    try:
        contract = find_contract(Path(path))
    except ContractError as error:
        unread = error.what
    found = to_plain(replace(inspect_file(Path(path)), contract_unread=unread))
    del found["path"]
    # An array, because the header of a message has room for fewer operators than a file may have.
    text = np.frombuffer(json.dumps(found).encode(), np.uint8)
    return {"contract": None if contract is None else contract.dumps()}, [text]


if __name__ == "__main__":
    serve({"inspect": _inspect})
