"""One decoder's inputs guided by what code they reach; needs the package atheris.

::

    python -m tests.fuzz.coverage_guided DECODER RUNS SEED FOLDER

The first byte of an input says which of the decoder's repairs the rest is given.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["journal", "projections", "tools"]):
    from tests.fuzz.decoder import INPUT_BYTES_MAX, Decoder
    from tests.fuzz.registry import decoders
    from tests.fuzz.running import PEAK_BYTES_MAX, attempt


def main() -> None:
    name, runs, seed, folder = sys.argv[1:]
    decoder = decoders()[name]

    def try_one(data: bytes) -> None:
        failure = attempt(decoder, repaired(decoder, data), folder=Path(folder))
        if failure:
            raise AssertionError(failure)

    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(decoder.seeds):
            for way in range(len(decoder.repairs) + 1):
                Path(corpus, f"{number}-{way}").write_bytes(bytes([way]) + content)
        options = [
            f"-runs={runs}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}",
            f"-rss_limit_mb={PEAK_BYTES_MAX >> 20}", f"-artifact_prefix={corpus}/",
            "-len_control=0", "-reduce_inputs=0", "-timeout=60",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *options, corpus], try_one)
        atheris.Fuzz()


def repaired(decoder: Decoder, data: bytes) -> bytes:
    ways = (bytes, *decoder.repairs)
    return ways[data[0] % len(ways)](data[1:]) if data else b""


if __name__ == "__main__":
    main()
