"""``python -m tests.stranger PHOTOS``: the way of somebody who has just cloned this, word by word.

Clones the last commit into an empty folder, runs `make demo` there, and then every line that
docs/tutorial.md shows, with PHOTOS (a folder for each class) as `photos`. Prints what each took;
exit code 1 if one fails. Ports 50051, 9090 and 8080 have to be free. With ``--environment DIR``
that is `.venv`, instead of a new one: then no time is of the network.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ACTIVATE = ". .venv/bin/activate"
_READY_S = 120.0
_LOOK_S = 0.2
_END_S = 60.0


def main() -> int:
    """Walk; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.stranger", description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?", help="without: to the first answer")
    parser.add_argument("--environment", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(Path(folder) / "menagerie")
        try:
            walk.to_the_first_answer(options.environment)
            if options.photos is not None:
                walk.to_a_served_model(options.photos)
        except subprocess.CalledProcessError as error:
            print(f"failed with {error.returncode}: {error.cmd}")
            return 1
    return 0


class Walk:
    """What a stranger does in a folder of its own."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        kept = {name: value for name, value in os.environ.items() if "MENAGERIE_" not in name}
        kept.pop("PYTHONPATH", None)
        self.environment = kept
        self.variables = ""

    def to_the_first_answer(self, environment: Path | None) -> None:
        began = time.monotonic()
        self._timed(f"git clone -q {ROOT} {self.clone}", self.clone.parent)
        if environment is not None:
            (self.clone / ".venv").symlink_to(environment.resolve())
            for stamp in (".installed-server", ".installed-all"):
                (environment / stamp).touch()
        self._timed("make demo")
        print(f"{time.monotonic() - began:7.1f} s  README to first answers\n", flush=True)

    def to_a_served_model(self, photos: Path) -> None:
        (self.clone / "photos").symlink_to(photos.resolve())
        text = (self.clone / "docs" / "tutorial.md").read_text(encoding="utf-8")
        install, train, ask = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        began = time.monotonic()
        for line in install.splitlines():
            if not line.startswith("python3 -m venv"):  # make demo made it
                self._timed(f"{_ACTIVATE}; {line}")
        *steps, serve = train.splitlines()
        for line in steps:
            self._timed(f"{_ACTIVATE}; {line}")
        with self._running(serve, lambda: '"ready"' in self._log(serve).read_text()):
            for line in (line.partition(" #")[0].strip() for line in ask.splitlines()):
                if line.endswith("client web"):
                    with self._running(line, _page_is_there):
                        pass
                else:
                    self._timed(f"{_ACTIVATE}; {line}")
        print(f"{time.monotonic() - began:7.1f} s  own photos to own served model", flush=True)

    def _timed(self, command: str, place: Path | None = None) -> None:
        """Run a line; what it sets as RUN is there for the next."""
        began = time.monotonic()
        remember = f'; code=$?; echo "$RUN" > {self.clone.parent}/run; exit $code'
        command_line = ["bash", "-c", f"{self.variables}{command}{remember}"]
        subprocess.run(command_line, cwd=place or self.clone, env=self.environment, check=True)
        self.variables = f"RUN={(self.clone.parent / 'run').read_text().strip()}; "
        shown = command.removeprefix(f"{_ACTIVATE}; ")
        print(f"{time.monotonic() - began:7.1f} s  {shown}", flush=True)

    def _log(self, command: str) -> Path:
        return self.clone.parent / f"{command.split()[2]}.log"

    @contextmanager
    def _running(self, command: str, there: Callable[[], bool]) -> Iterator[None]:
        began = time.monotonic()
        with self._log(command).open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"{_ACTIVATE}; exec {command}"],  # noqa: S607
                cwd=self.clone, env=self.environment, stderr=log,
            )  # fmt: skip
        try:
            while not there():
                if process.poll() is not None or time.monotonic() - began > _READY_S:
                    print(self._log(command).read_text())
                    raise subprocess.CalledProcessError(process.returncode or 1, command)
                time.sleep(_LOOK_S)
            print(f"{time.monotonic() - began:7.1f} s  {command}: ready", flush=True)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise subprocess.CalledProcessError(process.returncode, command) from None


def _page_is_there() -> bool:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
