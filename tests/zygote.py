"""A process that has imported everything already, and forks a real ``python -m wsa_lightning`` for every request.

Importing torch and Lightning takes most of the time of a short command. A fork is a process as any other: its own
arguments, environment, working folder, output, signals and exit status.
"""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn


class Zygote:
    """The tests' side: starts the process, asks it for runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(
        self, arguments: list[str], environment: dict[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """``python -m wsa_lightning ARGUMENTS``; as ``subprocess.run`` would return it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.count += 1
        output, errors = (self.folder / f"{self.count}.{name}" for name in ("out", "err"))
        request = {
            "arguments": arguments, "environment": environment, "cwd": str(cwd), "timeout": timeout,
            "output": str(output), "errors": str(errors),
        }  # fmt: skip
        print(json.dumps(request), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def serve() -> None:
    """The process's side: read requests, fork, answer with the exit status."""
    import wsa_lightning.cli.trainer  # noqa: F401  (what takes the time)

    for line in sys.stdin:
        request = json.loads(line)
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(readable)
            become(request, writable)
        os.close(writable)
        with os.fdopen(readable, "rb") as errors:
            Path(request["errors"]).write_bytes(errors.read())  # until all that the command started have ended, too
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(request: dict[str, Any], errors: int) -> NoReturn:
    """Turn this fork into the command, and never return."""
    os.setsid()
    signal.alarm(int(request["timeout"]))  # ends it
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(os.open(request["output"], os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.dup2(errors, 2)
    sys.path[0] = request["cwd"]  # as ``python -m`` has it
    sys.argv = ["wsa_lightning", *request["arguments"]]
    status = 1
    try:
        runpy.run_module("wsa_lightning", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # destructors of libraries would join threads that a fork does not have


if __name__ == "__main__":
    serve()
