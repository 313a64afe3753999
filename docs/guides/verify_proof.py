"""Check a proof with nothing of nostro: python verify_proof.py PROOF ROOT [OLDER_ROOT].

With --public-key HEX, accept only roots that this key signed. The format is in docs/format.md.
"""

import argparse, hashlib, json, os, re, struct, sys
from datetime import datetime

WIDE = "id debit_account_id credit_account_id amount pending_id user_data_128 user_data_64".split()
FIELDS = [*WIDE, *"user_data_32 timeout ledger code flags timestamp".split()]
REFUSALS = """
    LINKED_EVENT_FAILED LINKED_EVENT_CHAIN_OPEN TIMESTAMP_MUST_BE_ZERO RESERVED_FLAG
    ID_MUST_NOT_BE_ZERO ID_MUST_NOT_BE_INT_MAX FLAGS_ARE_MUTUALLY_EXCLUSIVE
    DEBIT_ACCOUNT_ID_MUST_NOT_BE_ZERO DEBIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    CREDIT_ACCOUNT_ID_MUST_NOT_BE_ZERO CREDIT_ACCOUNT_ID_MUST_NOT_BE_INT_MAX
    ACCOUNTS_MUST_BE_DIFFERENT PENDING_ID_MUST_BE_ZERO PENDING_ID_MUST_NOT_BE_ZERO
    PENDING_ID_MUST_NOT_BE_INT_MAX PENDING_ID_MUST_BE_DIFFERENT
    TIMEOUT_RESERVED_FOR_PENDING_TRANSFER - LEDGER_MUST_NOT_BE_ZERO CODE_MUST_NOT_BE_ZERO
    DEBIT_ACCOUNT_NOT_FOUND CREDIT_ACCOUNT_NOT_FOUND ACCOUNTS_MUST_HAVE_THE_SAME_LEDGER
    TRANSFER_MUST_HAVE_THE_SAME_LEDGER_AS_ACCOUNTS PENDING_TRANSFER_NOT_FOUND
    PENDING_TRANSFER_NOT_PENDING PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT_ID
    PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT_ID PENDING_TRANSFER_HAS_DIFFERENT_LEDGER
    PENDING_TRANSFER_HAS_DIFFERENT_CODE EXCEEDS_PENDING_TRANSFER_AMOUNT
    PENDING_TRANSFER_HAS_DIFFERENT_AMOUNT PENDING_TRANSFER_ALREADY_POSTED
    PENDING_TRANSFER_ALREADY_VOIDED PENDING_TRANSFER_EXPIRED EXISTS_WITH_DIFFERENT_FLAGS
    EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID
    EXISTS_WITH_DIFFERENT_AMOUNT EXISTS_WITH_DIFFERENT_PENDING_ID
    EXISTS_WITH_DIFFERENT_USER_DATA_128 EXISTS_WITH_DIFFERENT_USER_DATA_64
    EXISTS_WITH_DIFFERENT_USER_DATA_32 EXISTS_WITH_DIFFERENT_TIMEOUT EXISTS_WITH_DIFFERENT_CODE
    EXISTS OVERFLOWS_DEBITS_PENDING OVERFLOWS_CREDITS_PENDING OVERFLOWS_DEBITS_POSTED
    OVERFLOWS_CREDITS_POSTED OVERFLOWS_DEBITS OVERFLOWS_CREDITS OVERFLOWS_TIMEOUT
    EXCEEDS_CREDITS EXCEEDS_DEBITS IMPORTED_EVENT_EXPECTED IMPORTED_EVENT_NOT_EXPECTED
    IMPORTED_EVENT_TIMESTAMP_OUT_OF_RANGE IMPORTED_EVENT_TIMESTAMP_MUST_NOT_ADVANCE
    IMPORTED_EVENT_TIMESTAMP_MUST_NOT_REGRESS
    IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_DEBIT_ACCOUNT
    IMPORTED_EVENT_TIMESTAMP_MUST_POSTDATE_CREDIT_ACCOUNT IMPORTED_EVENT_TIMEOUT_MUST_BE_ZERO
    CLOSING_TRANSFER_MUST_BE_PENDING DEBIT_ACCOUNT_ALREADY_CLOSED CREDIT_ACCOUNT_ALREADY_CLOSED
    EXISTS_WITH_DIFFERENT_LEDGER ID_ALREADY_FAILED
""".split()  # numbered from 1, as in TigerBeetle
STATUSES = {number: name for number, name in enumerate(REFUSALS, 1) if name != "-"}
STATUSES[2**32 - 1] = "CREATED"
TIME = "%Y-%m-%dT%H:%M:%SZ"


def require(good, refusal):
    good or sys.exit(f"REFUSED: {refusal}")


def read(name, bytes_max):
    require(os.path.isfile(name), f"{name} is not a file")
    with open(name, "rb") as file:
        data = file.read(bytes_max + 1)
    require(len(data) <= bytes_max, f"{name} has more than {bytes_max} bytes")
    try:
        text = data.decode("utf-8")
        return text, json.loads(text, object_pairs_hook=object_with_each_key_once)
    except (ValueError, RecursionError) as error:
        sys.exit(f"REFUSED: {name} is not JSON that can be checked: {error}")


def object_with_each_key_once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def check_fields(found, file_type, forms):
    """The fields must be these and no others, each of exactly the form that is written."""
    forms = {"type": lambda v: v == file_type, "version": lambda v: v == 1, **forms}
    require(type(found) is dict and {*found} == {*forms}, f"the fields of {file_type} are others")
    for name, is_right in forms.items():
        plain = type(found[name]) in (str, int) or name in ("path", "event")  # True is not 1
        require(plain and is_right(found[name]), f"{name} is not as it is written")


def digits(count):
    return lambda v: type(v) is str and re.fullmatch(f"[0-9a-f]{{{2 * count}}}", v)


def is_position(value):
    return type(value) is int and 0 <= value < 2**63


def is_path(value):
    return type(value) is list and all(map(digits(32), value))


def is_event(value):
    return type(value) is dict and all(type(v) in (str, int) for v in value.values())


def is_time(text):
    try:
        return datetime.strptime(text, TIME).strftime(TIME) == text
    except (TypeError, ValueError):
        return False


def read_root(name, public_key):
    text, root = read(name, 4096)
    forms = {"ledger": digits(16), "position": is_position, "root": digits(32), "time": is_time}
    if public_key or (type(root) is dict and {"public_key", "signature"} & {*root}):
        forms.update(public_key=digits(32), signature=digits(64))
    check_fields(root, "nostro-root", forms)
    root = {name: root[name] for name in ["type", "version", *forms]}
    line = json.dumps(root, separators=(",", ":"))
    require(text.strip(" \t\r\n") == line, f"{name} is not written as roots are")
    if "signature" in root:
        check_signature(root, line.partition(',"signature"')[0] + "}")
        require(public_key in (None, root["public_key"]), "another key signed the root")
    return root


def check_signature(root, signed):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(root["public_key"]))
        key.verify(bytes.fromhex(root["signature"]), signed.encode())
    except (InvalidSignature, ValueError):
        sys.exit("REFUSED: the signature is wrong")


def check_meant(proof, prefix, root):
    require(proof["ledger"] == root["ledger"], "the proof is of another ledger than the root")
    same = all(proof[prefix + name] == root[name] for name in ("position", "root"))
    require(same, f"the proof is not for the root at position {root['position']}")


def climb(node, last, hashes):  # RFC 9162, 2.1.3.2 and 2.1.4.2
    require(hashes, "the path is too short")
    old = new = hashes[0]
    for beside in hashes[1:]:
        require(last, "the path is too long")
        if node & 1 or node == last:
            old, new = (hashlib.sha256(b"\1" + beside + one).digest() for one in (old, new))
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = hashlib.sha256(b"\1" + new + beside).digest()
        node, last = node >> 1, last >> 1
    require(not last, "the path is too short")
    return old.hex(), new.hex()


def check_event(proof):
    """The entry is what is hashed; the fields for people must say the same."""
    entry = bytes.fromhex(proof["entry"])
    position, kind, status, *row = struct.unpack("<QII16s16s16s16s16s16sQIIIHHQ", entry)
    row = [x if type(x) is int else int.from_bytes(x, "little") for x in row]
    require(kind == 2, "this program checks proofs of transfers only")
    require(status in STATUSES, "the status is unknown")
    said = {"position": position, "kind": "transfer", "status": STATUSES[status]}
    for name, value in zip(FIELDS, row, strict=True):
        said[name] = str(value) if name in WIDE or name == "timestamp" else value
    same = json.dumps(said, sort_keys=True) == json.dumps(proof["event"], sort_keys=True)
    require(same, "the fields of the event are not those of its entry")
    require(0 < position <= proof["position"], "there is no such event")
    path = [hashlib.sha256(b"\0" + entry).digest(), *map(bytes.fromhex, proof["path"])]
    _, new = climb(position - 1, proof["position"] - 1, path)
    require(new == proof["root"], "the path leads to another root")
    return f"Event {position} is this transfer: {json.dumps(said, indent=2)}"


def check_growth(proof):
    old_size, size = proof["old_position"], proof["position"]
    require(1 <= old_size <= size, "the older root is not older")
    path = [*map(bytes.fromhex, proof["path"])]
    if old_size == size:
        require(not path and proof["old_root"] == proof["root"], "the trees differ")
    else:
        lowest = old_size & -old_size  # the whole subtree at the old tree's right edge
        hashes = path if lowest != old_size else [bytes.fromhex(proof["old_root"]), *path]
        found = climb((old_size - 1) // lowest, (size - 1) // lowest, hashes)
        require(found == (proof["old_root"], proof["root"]), "the path leads to other roots")
    return f"The first {old_size} events are those of the older root."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("proof", None), ("root", None), ("older_root", "?")):
        parser.add_argument(name, nargs=count, metavar=name.upper())
    parser.add_argument("--public-key", type=str.lower, metavar="HEX")
    given = parser.parse_args()
    require(given.public_key is None or digits(32)(given.public_key), "a public key has 64 digits")
    _, proof = read(given.proof, 65536)
    roots = [read_root(name, given.public_key) for name in (given.root, given.older_root) if name]
    forms = {"ledger": digits(16), "position": is_position, "root": digits(32), "path": is_path}
    if type(proof) is dict and proof.get("type") == "nostro-consistency":
        require(len(roots) == 2, "two roots are needed, the newer one first")
        more = {"old_position": is_position, "old_root": digits(32)}
        check_fields(proof, "nostro-consistency", {**forms, **more})
        check_meant(proof, "old_", roots[1])
        result = check_growth(proof)
    else:
        require(len(roots) == 1, "a proof of one event needs one root")
        more = {"entry": digits(144), "event": is_event}
        check_fields(proof, "nostro-inclusion", {**forms, **more})
        result = check_event(proof)
    check_meant(proof, "", roots[0])
    print(result)
    for root in roots:
        by = root.get("public_key", "nobody")
        print(f"root at {root['position']}, {root['time']}, signed by {by}")


main()
