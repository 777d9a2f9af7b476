"""``python -m tests.fuzz decode|manifest|handlers --executions 1000000``.

``decode`` and ``manifest`` run under atheris (libFuzzer) where it is installed: guided by the
coverage of ``models``, beginning with tests/fuzz/corpus, where ``--grow`` keeps what it comes
upon. ``--plain`` does without. A find ends the run and is written to a file: ``--repeat`` it.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.fuzz.mutations import mutated

CORPUS = Path(__file__).parent / "corpus"
_LONGEST_INPUT = 8192


def main() -> None:
    """Fuzz until the executions are done or something is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=["decode", "manifest", "handlers"])
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--grow", action="store_true", help="keep new inputs in the corpus")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--repeat", type=Path, help="run this one input")
    arguments = parser.parse_args()
    if arguments.target == "handlers":
        _handlers(arguments.executions, arguments.seed)
    elif arguments.plain or arguments.repeat:
        _plain(arguments.target, arguments.executions, arguments.seed, arguments.repeat)
    else:
        _guided(arguments.target, arguments.executions, arguments.seed, grow=arguments.grow)


def _handlers(executions: int, seed: int) -> None:
    from tests.artifacts import publish_tiny_artifact
    from tests.fuzz.handlers import fuzz_handlers
    from tests.integration.conftest import run_server

    with tempfile.TemporaryDirectory() as root:
        publish_tiny_artifact(Path(root))
        with run_server("--repository", root, "--log-request-share", "0", forked=False) as server:
            outcomes = asyncio.run(fuzz_handlers(server.grpc, executions, seed))
            if server.process.poll() is not None:
                raise AssertionError("the server has ended")
    print(dict(outcomes))


def _plain(name: str, executions: int, seed: int, repeat: Path | None) -> None:
    from tests.fuzz.targets import TARGETS

    target, seeds = TARGETS[name]
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    inputs = (
        [repeat.read_bytes()] if repeat else mutated([*seeds().values(), *kept], executions, seed)
    )
    for number, data in enumerate(inputs):
        try:
            target(data)
        except BaseException:
            Path(f"find-{name}").write_bytes(data)
            print(f"input {number} is in find-{name}", file=sys.stderr)
            raise
    print(f"{name}: {executions} executions, no find")


def _guided(name: str, executions: int, seed: int, *, grow: bool) -> None:
    import atheris

    with atheris.instrument_imports(include=["models"]):
        from tests.fuzz.targets import TARGETS

    target, seeds = TARGETS[name]
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as room:
        for seed_name, data in seeds().items():
            (Path(room) / seed_name).write_bytes(data)
        limits = [f"-runs={executions}", f"-max_len={_LONGEST_INPUT}", "-timeout=20"]
        folders = [str(corpus), room] if grow else [room, str(corpus)]  # the first one grows
        atheris.Setup([sys.argv[0], *limits, f"-seed={seed}", *folders], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
