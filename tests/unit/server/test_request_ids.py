import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from server.request_ids import new_request_id

COUNT = 5000


def test_ids_are_random_hexadecimal_and_nobody_shares_one() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: new_request_id(), range(COUNT)))
    assert len(set(found)) == COUNT
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in found)


FORK = """
import os
from server.request_ids import new_request_id
new_request_id()
child = os.fork()
os.write(1, f"{new_request_id()}\\n".encode())  # at once: both write
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_process_has_its_own() -> None:
    # A process without threads, which nothing but the fork divides.
    ran = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    first, second = ran.stdout.split()
    assert first != second
