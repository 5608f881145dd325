"""The command line as a user types it: a process of its own, its exit code and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Nothing on this machine may decide what a test sees.
_CLEARED = ("TOOLCHAIN_DATA", "KERAS_HOME", "http_proxy", "https_proxy", "HTTPS_PROXY", "NO_COLOR")


def toolchain(
    *arguments: object,
    cwd: Path | None = None,
    timeout: float = 500,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run `toolchain ARGUMENTS`; `environment` is added to a cleared one."""
    inherited = {key: value for key, value in os.environ.items() if key not in _CLEARED}
    return subprocess.run(
        [sys.executable, "-m", "toolchain", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=inherited | environment,
        check=False,
    )


def settings(**changes: object) -> list[str]:
    """`--set` options: settings(train__epochs=2) is --set train.epochs=2."""
    options = []
    for key, value in changes.items():
        options += ["--set", f"{key.replace('__', '.')}={value}"]
    return options
