"""Runs exported files: LiteRT and onnxruntime, no TensorFlow.

`isolate.IsolatedRunner` opens a file in a child process and is what the other rooms use; `open`
opens one in this process. `carried` reads the contract that a file brings. A runtime's library is
imported when a file is opened, never before.
"""

from toolchain.runtimes.base import Runner
from toolchain.runtimes.carried import find_contract, read_contract
from toolchain.runtimes.isolate import IsolatedRunner
from toolchain.runtimes.open import open_runner

__all__ = ["IsolatedRunner", "Runner", "find_contract", "open_runner", "read_contract"]
