"""Damage: the same for the same seed, on any machine."""

import random
from collections.abc import Iterator, Sequence

_TOKENS = (
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"{",
    b'"',
    b"-1",
    b"1e999",
)
_HEADER_BYTES = 64


def mutated(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """``count`` damaged copies of ``seeds``."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            _damage(data, seeds, chance)
        yield bytes(data)


def _damage(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    # Headers are where it hurts.
    end = min(len(data), _HEADER_BYTES) if chance.random() < 0.5 else len(data)
    place = chance.randrange(end + 1)
    match chance.randrange(6):
        case 0 | 1 if place < len(data):
            data[place] ^= 1 << chance.randrange(8)
        case 2:
            data[place:place] = chance.choice(_TOKENS)
        case 3:
            token = chance.choice(_TOKENS)
            data[place : place + len(token)] = token
        case 4:
            del data[place : place + chance.choice((1, 2, 8, len(data)))]
        case _:
            other = chance.choice(seeds)
            cut = chance.randrange(len(other) + 1)
            data[place : place + 32] = other[cut : cut + 32]
