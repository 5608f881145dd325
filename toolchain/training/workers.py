"""The machines that train together, as TF_CONFIG names them, and waiting until all are there.

TensorFlow waits for the others for ever, and cannot be interrupted while it does. So the workers
find each other before: each listens on its own port and calls every other until each pair has met
both ways. Then nobody needs a port any more, and TensorFlow gets them. Imports no TensorFlow.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from toolchain.errors import MachineError
from toolchain.terminal import say

VARIABLE: Final = "TF_CONFIG"
DEADLINE_S: Final = 300.0
_EXAMPLE: Final = (
    '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
)
_GREETING: Final = b"toolchain worker "
_CALL_S: Final = 1.0
_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Workers:
    """Who trains together.

    Attributes:
      addresses: "host:port" of each, in the order of TF_CONFIG.
      index: which of them this machine is.
    """

    addresses: tuple[str, ...]
    index: int

    @staticmethod
    def of(told: str) -> Workers:
        """From the text of TF_CONFIG.

        Raises:
          MachineError: it is no cluster of workers with this machine among them.
        """
        try:
            config = json.loads(told)
            addresses, task = config["cluster"]["worker"], config["task"]
            if set(config["cluster"]) != {"worker"} or task["type"] != "worker":
                raise ValueError("expected workers and nothing else")
            if not 0 <= task["index"] < len(addresses):
                raise ValueError(f"expected an index below {len(addresses)}, got {task['index']}")
            for address in addresses:
                _host_port(address)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MachineError(
                f"expected {_EXAMPLE}: {type(error).__name__} {error}",
                VARIABLE,
                "give each machine its own index, or unset it to train on this one alone",
            ) from error
        return Workers(tuple(addresses), int(task["index"]))

    @property
    def others(self) -> dict[int, str]:
        """Index -> address of all but this machine."""
        return {at: one for at, one in enumerate(self.addresses) if at != self.index}

    def wait(self, deadline_s: float = DEADLINE_S) -> None:
        """Return when every other worker was reached and has reached this one; Ctrl-C ends it.

        Raises:
          MachineError: some did not answer in time, or the port of this worker is taken.
        """
        if not self.others:
            return
        say(f"waiting for the other workers: {', '.join(self.others.values())}")
        end = time.monotonic() + deadline_s
        called: set[int] = set()
        heard: set[int] = set()
        with self._listener() as listener:
            while missing := self.others.keys() - (called & heard):
                if time.monotonic() > end:
                    named = ", ".join(self.others[at] for at in sorted(missing))
                    raise MachineError(
                        f"expected {len(self.addresses)} workers, received no answer in "
                        f"{deadline_s:.0f} s from {named}",
                        VARIABLE,
                        "start the same command there too, or unset it to train on this one alone",
                    )
                called |= {at for at in self.others.keys() - called if self._call(at)}
                heard |= set(_callers(listener))
                time.sleep(_PAUSE_S)

    def _listener(self) -> socket.socket:
        address = self.addresses[self.index]
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        try:
            found = socket.create_server(
                ("", _host_port(address)[1]), family=family, dualstack_ipv6=both
            )
        except OSError as error:
            raise MachineError(
                f"the port of this worker cannot be used: {error.strerror}",
                f"{VARIABLE}, {address}",
                "end what uses it, or give another port on every machine",
            ) from error
        found.setblocking(False)
        return found

    def _call(self, at: int) -> bool:
        """Tell another worker which one this is; the caller closes first, so no port lingers."""
        with contextlib.suppress(OSError):
            with socket.create_connection(_host_port(self.addresses[at]), _CALL_S) as line:
                line.sendall(_GREETING + str(self.index).encode())
            return True
        return False


def _callers(listener: socket.socket) -> Iterator[int]:
    """The workers that have called since; whatever else calls is not heard."""
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        with line, contextlib.suppress(OSError, ValueError):
            line.settimeout(_CALL_S)
            said = b""
            while len(said) < 64 and (part := line.recv(64)):
                said += part
            if said.startswith(_GREETING):
                yield int(said.removeprefix(_GREETING))


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"expected host:port, got {address!r}")
    return host.strip("[]"), int(port)
