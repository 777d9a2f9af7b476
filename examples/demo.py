"""Serve the bundled model, classify the bundled photos, stop: ``make demo``. With ``--web``
serve the page too, until Ctrl-C: ``make web``."""

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = Path("examples", "photos")  # relative to ROOT, as a person would type it
ADDRESS = "127.0.0.1:50051"
METRICS = "http://127.0.0.1:9090/metrics"
_READY_S = 120
_STOP_S = 60


def main() -> int:
    """Run the demo; returns 0 when every step worked."""
    with tempfile.NamedTemporaryFile("w+", prefix="menagerie-", suffix=".log") as log:
        server = subprocess.Popen([sys.executable, "-m", "server"], stderr=log, cwd=ROOT)
        try:
            code = _web(server) if "--web" in sys.argv[1:] else _classify(server)
        finally:
            server.terminate()
            stopped = server.wait(timeout=_STOP_S)
        if code != 0 or stopped != 0:
            sys.stdout.write(f"The demo failed. The server's log:\n{Path(log.name).read_text()}\n")
            return code or stopped
    sys.stdout.write(
        "The server has stopped. To keep one running: make serve\n"
        f"Its metrics are then at {METRICS}\n"
        "Classify your own: .venv/bin/python -m client classify photo.jpg\n"
        "Or in the browser: make web, then http://127.0.0.1:8080\n"
    )
    return 0


def _classify(server: subprocess.Popen[bytes]) -> int:
    return _started(server) or _client("classify", str(PHOTOS), "--server", ADDRESS)


def _web(server: subprocess.Popen[bytes]) -> int:
    with suppress(KeyboardInterrupt):  # which the page gets as well, and ends
        return _started(server) or _client("web", "--server", ADDRESS)
    return 0


def _started(server: subprocess.Popen[bytes]) -> int:
    sys.stdout.write("Starting the server on the bundled model ...\n")
    sys.stdout.flush()
    waited = _client("health", "--wait", str(_READY_S))
    return waited or (1 if server.poll() is not None else 0)


def _client(*arguments: str) -> int:
    command = [sys.executable, "-m", "client", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
