"""32 bits as 120 chips of +-1, and back from 120 numbers, however many of them are wrong.

28 check bits, a keyed hash, follow the 32; the 60 are five words of the extended Golay code
(24, 12), whose words differ in at least 8 chips: any 3 wrong ones of a word's 24 are set right, and
of soft numbers the most probable word is found, by comparing with all 4096. Whatever five words
come out of data that hold no mark, their check is right by chance once in 2^28.
"""

import hashlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

BITS, CHECK = 32, 28
WORDS, WORD, CHIPS = 5, 12, 24  # of the message; bits of a word; chips of a word
LENGTH = WORDS * CHIPS
SQUARES = (0, 1, 3, 4, 5, 9)  # modulo 11


def encode(value: int) -> Floats:
    """The 120 chips of `value`, 0 <= value < 2^32."""
    assert 0 <= value < 1 << BITS
    message = value << CHECK | check(value)
    words = [message >> (WORD * place) & (1 << WORD) - 1 for place in range(WORDS)]
    return codebook()[words].ravel()


def decode(soft: Floats) -> int | None:
    """The value whose chips are most like these 120 numbers; None if its check is not right."""
    words = (soft.reshape(WORDS, CHIPS) @ codebook().T).argmax(1)
    message = sum(int(word) << (WORD * place) for place, word in enumerate(words))
    value = message >> CHECK
    return value if message & (1 << CHECK) - 1 == check(value) else None


def check(value: int) -> int:
    """The 28 check bits of 32."""
    digest = hashlib.blake2s(value.to_bytes(4, "big"), key=b"openimagen mark").digest()
    return int.from_bytes(digest[:4], "big") >> (32 - CHECK)


@cache
def codebook() -> Floats:
    """All words as chips, [4096, 24]: row w has the bits of w first, 0 as +1 and 1 as -1."""
    bits = np.arange(1 << WORD)[:, None] >> np.arange(WORD) & 1
    return (1 - 2 * (bits @ generator() % 2)).astype(np.float32)


def generator() -> npt.NDArray[np.int64]:
    """The extended Golay code's matrix [1 | B], 12 by 24: B has the squares modulo 11, bordered."""
    rows = np.arange(11)
    circulant = np.isin((rows[:, None] + rows) % 11, SQUARES)
    parity = np.ones((WORD, WORD), np.int64)
    parity[:11, :11] = circulant
    parity[11, 11] = 0
    return np.hstack([np.eye(WORD, dtype=np.int64), parity])
