"""Seeds that depend on where in a run one is, and on nothing that came before.

What is drawn at a step or for a photo is then the same after a run was killed
and resumed, and in any number of loader workers.
"""

import hashlib


def seed_of(*parts: int) -> int:
    """A 63-bit seed of the run's seed and a position, for example (seed, epoch, photo)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
