"""No input makes a decoder raise anything but its own errors, or use 256 MiB.

`make fuzz` tries 100,000 inputs of each decoder; here are some of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import running
from tests.fuzz.decoder import Decoder, check
from tests.fuzz.registry import NAMES, decoders
from tests.fuzz.running import PEAK_BYTES_MAX

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = 40
INPUTS: Final = {
    "journal": 8, "recovery": 15, "index of postings": 15, "export": 8, "mapping": 10, "CSV": 10,
    "JSON Lines": 10,
}  # fmt: skip
"""In each example; of the others 40."""
NEVER_ACCEPTED: Final = {"key"}
"""Of its seeds only one is a key that can be used."""


@pytest.mark.parametrize("name", NAMES)
def test_what_the_program_writes_is_accepted(name: str) -> None:
    """Every seed is a valid input, and is what would be written; repairs and forms keep it so."""
    decoder = decoders()[name]
    accepted = [check(decoder, seed) for seed in decoder.seeds]
    assert all(accepted) or (name in NEVER_ACCEPTED and any(accepted))
    for repair in decoder.repairs:
        assert all(check(decoder, repair(seed)) for seed in decoder.seeds)
    for form in decoder.forms:
        assert all(check(decoder, form.close(form.open(seed))) for seed in decoder.seeds)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_input_is_refused_with_an_error_of_its_own(name: str, tmp_path: Path) -> None:
    """Mutated inputs, checksums repaired: refused as documented, or what would be written so."""
    decoder = decoders()[name]
    count = INPUTS.get(name, 40)

    @settings(max_examples=EXAMPLES, phases=[Phase.generate])  # a smaller seed says no more
    @given(st.integers(0, 2**32))
    def some_inputs(seed: int) -> None:
        for number in range(count):
            data = running.input_number(decoder, seed, number)
            failure = running.attempt(decoder, data, folder=tmp_path)
            assert not failure, failure

    some_inputs()


def test_no_bomb_takes_much_memory() -> None:
    """Inputs that ask for much, one by one in a process whose memory is measured."""
    done = fuzz("--inputs", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} decoders" in done.stdout


def test_the_proof_can_fail(tmp_path: Path) -> None:
    """Another error, a contradiction, and much memory are each told; the input is kept."""

    def decode(data: bytes) -> bytes:
        if len(data) > 1:
            raise ValueError
        return (b"x" * PEAK_BYTES_MAX)[:1] if data == b"a" else data

    def result(seed: bytes) -> running.Result:
        decoder = Decoder(
            "bad", decode, (seed,), (KeyError,),
            agrees=lambda _, data: data != b"\1", bombs=(lambda: seed,),
        )  # fmt: skip
        return running.run(decoder, inputs=0, seed=1, folder=tmp_path)

    assert result(b"").failures == []
    for seed in (b"ab", b"\1"):
        wrong = result(seed)
        [failure] = wrong.failures
        assert "--decoder bad --replay" in failure
        kept = Path(failure.split()[-1])
        assert kept.read_bytes() == seed
        assert not wrong.passed
    greedy = result(b"a")
    assert greedy.peak_bytes > PEAK_BYTES_MAX
    assert not greedy.failures
    assert not greedy.passed


def test_an_input_can_be_replayed(tmp_path: Path) -> None:
    """By its file; and by its number, for it follows from the seed."""
    decoder = decoders()["frame"]
    again = [running.input_number(decoder, 7, number) for number in range(50)]
    assert again == [running.input_number(decoder, 7, number) for number in range(50)]
    assert len(set(again)) > 40
    path = running.save(decoder, decoder.seeds[0], tmp_path)
    assert running.replay(decoder, path).endswith(f"-m tests.fuzz --decoder frame --replay {path}")
    done = fuzz("--decoder", "frame", "--replay", str(path))
    assert (done.returncode, done.stdout) == (0, "accepted\n")


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
