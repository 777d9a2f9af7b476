"""The collector looks at what requests leave behind, not at what was imported."""

import subprocess
import sys

_PROGRAM = """
import atexit, gc
from server.garbage import spare_imports

class Ring: pass

module = Ring(); module.itself = module
spare_imports()
assert not any(found is module for found in gc.get_objects())
late = Ring(); late.itself = late
del late
assert gc.collect() > 0
atexit._run_exitfuncs()
assert any(found is module for found in gc.get_objects())  # what exits is freed as ever
"""


def test_only_what_comes_later_is_looked_at() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)
