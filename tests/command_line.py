"""The command line as a user types it: its exit code and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from toolchain import terminal
from toolchain.cli.app import main

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


def in_process(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same in this process: without the second that Python takes, or TensorFlow's many.

    Both streams lead to files by their descriptors, so that what native code prints is caught too.
    """
    saved = os.dup(1), os.dup(2)
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        open(1, "w", encoding="utf-8", closefd=False) as stdout,
        open(2, "w", 1, "utf-8", "backslashreplace", closefd=False) as stderr,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key in _CLEARED:
            patch.delenv(key, raising=False)
        for key, value in environment.items():
            patch.setenv(key, value)
        if cwd is not None:
            patch.chdir(cwd)
        patch.setattr(sys, "argv", ["toolchain", *map(str, arguments)])
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        patch.setattr(terminal, "_console", None)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            stdout.flush()
            stderr.flush()
            if terminal._console is not None:
                terminal._console.file.close()
            for descriptor, real in enumerate(saved, start=1):
                os.dup2(real, descriptor)
                os.close(real)
        for file in (out, err):
            file.seek(0)
        texts = [file.read().decode() for file in (out, err)]
    return subprocess.CompletedProcess(list(map(str, arguments)), code, *texts)


def settings(**changes: object) -> list[str]:
    """`--set` options: settings(train__epochs=2) is --set train.epochs=2."""
    options = []
    for key, value in changes.items():
        options += ["--set", f"{key.replace('__', '.')}={value}"]
    return options
