"""Another process that publishes. It takes one command a line and answers in lines.

publish ROOT COUNT            publish so many versions; answers their numbers
pause ROOT build|check|seal   publish one, saying "paused" there and waiting for a line
"""

import sys
from pathlib import Path

from models.artifact import read_artifact
from models.manifest import GOLDEN_NAME, MODEL_NAME
from models.repository import ModelRepository
from tests.artifacts import file_entry, tiny_manifest

MODEL = "tiny"
CONTENT = b"content"


def main() -> None:
    say("ready")
    for line in sys.stdin:
        command, root, argument = line.split()
        repository = ModelRepository(Path(root))
        if command == "publish":
            say(*[publish(repository) for _ in range(int(argument))])
        else:
            say(publish(repository, pause_at=argument))


def publish(repository: ModelRepository, pause_at: str = "") -> int:
    def build(folder: Path):
        files = {name: file_entry(CONTENT) for name in (MODEL_NAME, GOLDEN_NAME)}
        for name in files:
            (folder / name).write_bytes(CONTENT)
        pause("build")

        def seal(version):
            pause("seal")
            return tiny_manifest(files, name=MODEL, version=version)

        return seal

    def check(folder: Path) -> None:
        pause("check")
        read_artifact(folder, staged=True)

    def pause(where: str) -> None:
        if where == pause_at:
            say("paused")
            sys.stdin.readline()

    return repository.publish(MODEL, build, check)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
