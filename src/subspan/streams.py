"""The only maker of random generators: streams named by hashing, and portable random words.

A stream is addressed by a seed and a path of names, never by arithmetic on seeds, so
`stream(0, "map", 1)` and `stream(1, "map", 0)` are unrelated. The generator is NumPy's Philox
(Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"), whose raw words are a pure
function of key and counter and are guaranteed stable across NumPy releases (NEP 19). Everything
that must give the same bits on every device, in chunks and in later releases (the maps, the
initial weights) is built from those raw words alone, never from `Generator.normal` and the like.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from subspan.errors import invalid, whole

Name = str | int
_WORDS_PER_COUNTER = 4  # Philox 4x64 gives four 64-bit words per counter value


def _digest(seed: int, names: tuple[Name, ...]) -> bytes:
    seed = whole("seed", seed)
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise invalid("names", expected="strings or integers", got=repr(name))
    # JSON keeps 1 and "1", and ("a", "b") and ("ab",), apart.
    text = json.dumps([seed, *names], ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"subspan.stream.1").digest()


def derive(seed: int, *names: Name) -> int:
    """Hash a seed and a path of names into a new seed in [0, 2⁶³)."""
    return int.from_bytes(_digest(seed, names)[16:24], "little") >> 1


def _philox(seed: int, names: tuple[Name, ...]) -> np.random.Philox:
    return np.random.Philox(key=int.from_bytes(_digest(seed, names)[:16], "little"))


def stream(seed: int, *names: Name) -> np.random.Generator:
    """Return the generator addressed by a seed and a path of names.

    Args:
        seed: any integer; the user's seed.
        names: strings or integers saying what the draws are for, e.g. `("batches", repeat)`.

    Returns:
        A fresh `numpy.random.Generator` over Philox. Equal arguments give equal streams,
        different arguments give independent ones (a 128-bit hash keys the generator).

    Raises:
        InputError: the seed is not an integer, or a name neither string nor integer.
    """
    return np.random.Generator(_philox(seed, names))


def words(seed: int, *names: Name, start: int, count: int) -> np.ndarray:
    """Return 64-bit random words `start … start+count-1` of a stream, shape (count,), uint64.

    Word i depends on the stream and on i alone, so any chunking gives the same bits.
    """
    bits = _philox(seed, names)
    counter, skip = divmod(start, _WORDS_PER_COUNTER)
    bits.advance(counter)
    return bits.random_raw(skip + count)[skip:]


def uniforms(seed: int, *names: Name, start: int = 0, count: int) -> np.ndarray:
    """Return uniforms in (0, 1) from the top 53 bits of each word, shape (count,), float64."""
    top = words(seed, *names, start=start, count=count) >> np.uint64(11)
    return (top.astype(np.float64) + 0.5) * 2.0**-53


def normals(seed: int, *names: Name, start: int = 0, count: int) -> np.ndarray:
    """Return standard normals by inversion of `uniforms`, shape (count,), float64."""
    from scipy.special import ndtri

    return ndtri(uniforms(seed, *names, start=start, count=count))


def torch_generator(seed: int, *names: Name) -> torch.Generator:
    """Return a CPU `torch.Generator` seeded from a stream, for PyTorch APIs that want one."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextlib.contextmanager
def scoped_torch_rng(seed: int, *names: Name, device: torch.device | None = None) -> Iterator[None]:
    """Run a user's module, which draws from PyTorch's global generator, reproducibly.

    The global generator's state is put back on leaving, so the draws stay invisible outside.

    Args:
        seed: any integer.
        names: what the draws are for.
        device: whose own generator is seeded too, where it is a GPU.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(derive(seed, *names))
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(derive(seed, *names))
        yield


@contextlib.contextmanager
def watched_global_rngs() -> Iterator[list[str]]:
    """Yield a list that names, on leaving, the global generators that were drawn from within."""
    moved: list[str] = []
    before = _global_states()
    yield moved
    after = _global_states()
    moved += [name for name in before if before[name] != after[name]]


def _global_states() -> dict[str, Any]:
    numpy = np.random.get_state()  # noqa: NPY002
    return {
        "PyTorch's": torch.get_rng_state().numpy().tobytes(),
        "NumPy's": [p.tobytes() if isinstance(p, np.ndarray) else p for p in numpy],
        "Python's": random.getstate(),
    }


@contextlib.contextmanager
def scoped_global_rngs(seed: int) -> Iterator[None]:
    """Run a user's own training loop, which draws from global generators, reproducibly.

    Python's, NumPy's and PyTorch's (of the GPU too where one is in use) are seeded, and those of
    the CPU put back on leaving.

    Args:
        seed: in [0, 2³²), as NumPy's generator takes it.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
