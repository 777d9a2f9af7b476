"""Photos read into a cache on a disk where no file may grow larger.

``python -m tests.unit.trainer.data.full_disk CACHE BYTES PHOTO ...`` says what became of it.
"""

import resource
import signal
import sys
from pathlib import Path

from trainer.data import Photo, read_training
from trainer.errors import DataError


def main() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        read_training([Photo(Path(path), 0) for path in sys.argv[3:]], 4, Path(sys.argv[1]))
    except DataError as error:
        sys.stdout.write(f"{error}\n")


if __name__ == "__main__":
    main()
