"""Merkle trees: published vectors, the RFC's own definition, and every proof of small trees."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nostro.journal.errors import InvalidProof
from nostro.journal.evidence import merkle
from nostro.journal.evidence.merkle import HASH_BYTES, RangeRoot

# The tree of Certificate Transparency's own tests: its eight leaves and what they give.
LEAVES: Final = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS: Final = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
_1: Final = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_2: Final = "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7"
_4: Final = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_6: Final = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
_2_3: Final = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_4_5: Final = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
_6_7: Final = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_4_7: Final = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
INCLUSION: Final = [  # (leaf, size, path)
    (0, 1, ()),
    (0, 8, (_1, _2_3, _4_7)),
    (5, 8, (_4, _6_7, ROOTS[4])),
    (2, 3, (ROOTS[2],)),
    (1, 5, (ROOTS[1], _2_3, _4)),
]
CONSISTENCY: Final = [  # (old size, size, path)
    (1, 1, ()),
    (1, 8, (_1, _2_3, _4_7)),
    (6, 8, (_4_5, _6_7, ROOTS[4])),
    (2, 5, (_2_3, _4)),
    (6, 7, (_4_5, _6, ROOTS[4])),
]
SIZE_MAX: Final = 260


def naive_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1, as it is written there."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    left = 1
    while 2 * left < len(entries):
        left *= 2
    return hashlib.sha256(
        b"\x01" + naive_root(entries[:left]) + naive_root(entries[left:])
    ).digest()


def ranges(hashes: bytes) -> RangeRoot:
    return lambda first, last: merkle.root_over(hashes[first * HASH_BYTES : last * HASH_BYTES])


def leaf_hashes(entries: list[bytes]) -> bytes:
    return b"".join(map(merkle.leaf_hash, entries))


MANY: Final = leaf_hashes([str(number).encode() for number in range(SIZE_MAX)])
BETWEEN: Final = cache(ranges(MANY))
ROOT: Final = [BETWEEN(0, size) for size in range(SIZE_MAX + 1)]


def leaf(index: int) -> bytes:
    return MANY[index * HASH_BYTES : (index + 1) * HASH_BYTES]


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    """The tree of Certificate Transparency has the published root at each size."""
    assert merkle.root_over(leaf_hashes(LEAVES[:size])).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, path: tuple[str, ...]) -> None:
    """Each published path is the one that is made, and leads to the root."""
    made = merkle.inclusion_path(index, size, ranges(leaf_hashes(LEAVES)))
    assert tuple(one.hex() for one in made) == path
    root, hash_ = bytes.fromhex(ROOTS[size]), merkle.leaf_hash(LEAVES[index])
    merkle.check_inclusion(hash_, index=index, size=size, path=made, root=root)


@pytest.mark.parametrize(("old_size", "size", "path"), CONSISTENCY)
def test_published_consistency_proofs(old_size: int, size: int, path: tuple[str, ...]) -> None:
    """Each published path is the one that is made, and leads to both roots."""
    made = merkle.consistency_path(old_size, size, ranges(leaf_hashes(LEAVES)))
    assert tuple(one.hex() for one in made) == path
    merkle.check_consistency(
        old_size=old_size, old_root=bytes.fromhex(ROOTS[old_size]), size=size,
        root=bytes.fromhex(ROOTS[size]), path=made,
    )  # fmt: skip


@given(st.lists(st.binary(max_size=200), max_size=130))
def test_roots_are_those_of_the_definition(entries: list[bytes]) -> None:
    """Level by level gives what the recursive definition gives."""
    assert merkle.root_over(leaf_hashes(entries)) == naive_root(entries)


@given(st.lists(st.binary(min_size=7, max_size=7), min_size=1, max_size=50))
def test_subtrees_of_one_size_stand_for_their_leaves(entries: list[bytes]) -> None:
    """A tree over roots of 8 leaves each, the last of fewer, is the tree over the leaves."""
    hashes = leaf_hashes(entries)
    parts = [hashes[at : at + 8 * HASH_BYTES] for at in range(0, len(hashes), 8 * HASH_BYTES)]
    assert merkle.root_over(b"".join(map(merkle.root_over, parts))) == naive_root(entries)


def test_every_leaf_of_every_size_is_proven() -> None:
    """And by no more hashes than the tree is high."""
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            path = merkle.inclusion_path(index, size, BETWEEN)
            assert len(path) <= (size - 1).bit_length()
            merkle.check_inclusion(
                leaf(index), index=index, size=size, path=path, root=ROOT[size]
            )  # fmt: skip


def test_every_pair_of_sizes_is_consistent() -> None:
    """Each tree grew from each smaller one."""
    for size in range(1, SIZE_MAX + 1):
        for old_size in range(1, size + 1):
            merkle.check_consistency(
                old_size=old_size, old_root=ROOT[old_size], size=size, root=ROOT[size],
                path=merkle.consistency_path(old_size, size, BETWEEN),
            )  # fmt: skip


def changed(data: st.DataObject, hashes: list[bytes]) -> list[bytes]:
    """With one bit flipped, one hash left out, put in, or moved to another place."""
    at = data.draw(st.integers(0, len(hashes) - 1), label="hash")
    how = data.draw(st.sampled_from(["flip", "drop", "add", "swap", "shorten"]))
    if how == "flip":
        bit = data.draw(st.integers(0, 8 * HASH_BYTES - 1), label="bit")
        number = int.from_bytes(hashes[at]) ^ 1 << bit
        return [*hashes[:at], number.to_bytes(HASH_BYTES), *hashes[at + 1 :]]
    if how == "drop":
        return hashes[:at] + hashes[at + 1 :]
    if how == "add":
        return [*hashes[:at], data.draw(st.sampled_from([*hashes, ROOT[1]])), *hashes[at:]]
    if how == "swap":
        return [*hashes[at:], *hashes[:at]]
    return [*hashes[:at], hashes[at][:-1], *hashes[at + 1 :]]


@given(st.data(), st.integers(2, SIZE_MAX))
def test_a_changed_inclusion_proof_fails(data: st.DataObject, size: int) -> None:
    """Whatever is changed: leaf, index, size, root or path."""
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_path(index, size, BETWEEN)
    other = changed(data, path)
    if other != path:
        with pytest.raises(InvalidProof):
            merkle.check_inclusion(
                leaf(index), index=index, size=size, path=other, root=ROOT[size]
            )  # fmt: skip
    elsewhere = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    with pytest.raises(InvalidProof):
        merkle.check_inclusion(
            leaf(index), index=elsewhere, size=size, path=path, root=ROOT[size]
        )  # fmt: skip
    with pytest.raises(InvalidProof):
        merkle.check_inclusion(
            leaf((index + 1) % size), index=index, size=size, path=path, root=ROOT[size]
        )
    with pytest.raises(InvalidProof):
        merkle.check_inclusion(
            leaf(index), index=index, size=size, path=path, root=ROOT[size - 1]
        )  # fmt: skip


@given(st.data(), st.integers(2, SIZE_MAX))
def test_a_changed_consistency_proof_fails(data: st.DataObject, size: int) -> None:
    """Whatever is changed: a size, a root or the path."""
    old_size = data.draw(st.integers(1, size - 1))
    path = merkle.consistency_path(old_size, size, BETWEEN)
    other = changed(data, path)
    if other != path:
        assert not is_consistent(old_size, ROOT[old_size], size, ROOT[size], other)
    assert not is_consistent(old_size, ROOT[old_size - 1], size, ROOT[size], path)
    assert not is_consistent(old_size, ROOT[old_size], size, ROOT[size - 1], path)
    for wrong in {0, -1, old_size - 1, old_size + 1, size, size + 1}:
        assert not is_consistent(wrong, ROOT[old_size], size, ROOT[size], path)


def test_no_leaf_stands_before_the_first() -> None:
    """The way of a full tree's last leaf is not that of leaf -1."""
    path = merkle.inclusion_path(7, 8, BETWEEN)
    merkle.check_inclusion(leaf(7), index=7, size=8, path=path, root=ROOT[8])
    with pytest.raises(InvalidProof, match="no leaf -1"):
        merkle.check_inclusion(leaf(7), index=-1, size=8, path=path, root=ROOT[8])


def is_consistent(
    old_size: int, old_root: bytes, size: int, root: bytes, path: list[bytes]
) -> bool:
    try:
        merkle.check_consistency(
            old_size=old_size, old_root=old_root, size=size, root=root, path=path
        )
    except InvalidProof:
        return False
    return True


def test_trees_of_one_size_are_consistent_if_they_are_one() -> None:
    """And nothing else is to be shown."""
    assert is_consistent(7, ROOT[7], 7, ROOT[7], [])
    assert not is_consistent(7, ROOT[7], 7, ROOT[6], [])
    assert not is_consistent(7, ROOT[7], 7, ROOT[7], [ROOT[7]])
    assert not is_consistent(6, ROOT[6], 7, ROOT[7], [])
