"""What a script learns from how a command ended. Imports nothing, so that help is quick."""

from enum import IntEnum

EXIT_CODES_HELP = """\b
Exit codes:
  0    all went well
  1    some images failed: no such file, not an image, ...
  2    the command line is wrong
  3    the server is out of reach, busy, silent, or not serving
  4    the server refused the whole request: unknown model, invalid top-k, ...
  130  interrupted (Ctrl-C)
  141  whoever read the output closed it
"""


class ExitCode(IntEnum):
    """What a script learns; see EXIT_CODES_HELP."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    REFUSED = 4
    INTERRUPTED = 130
    PIPE_CLOSED = 141
