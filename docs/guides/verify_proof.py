"""Check a proof with nothing of nostro: python verify_proof.py PROOF ROOT [OLDER_ROOT]."""

import hashlib, json, struct, sys

FIELDS = """id debit_account_id credit_account_id amount pending_id user_data_128 user_data_64
            user_data_32 timeout ledger code flags timestamp""".split()
proof, *roots = [json.load(open(name, encoding="utf-8")) for name in sys.argv[1:]]
path, size = [bytes.fromhex(one) for one in proof["path"]], proof["position"]


def require(good, refusal):
    good or sys.exit(f"REFUSED: {refusal}")


def check_root(root, position, found):
    expected = ["nostro-root", 1, proof["ledger"], position, found.hex()]
    require([*root.values()][:5] == expected, "it does not lead to this root")
    if "signature" in root:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        text = json.dumps({k: root[k] for k in root if k != "signature"}, separators=(",", ":"))
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(root["public_key"]))
        key.verify(bytes.fromhex(root["signature"]), text.encode())  # raises InvalidSignature
    print(f"root at {position}, {root['time']}, signed by {root.get('public_key', 'nobody')}")


def climb(node, last, hashes):  # RFC 9162, 2.1.3.2 and 2.1.4.2
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
    return old, new


if proof["type"] == "nostro-consistency":
    old_size = node = proof["old_position"]
    require(len(roots) == 2 and 1 <= old_size < size, "two roots are needed, the newer one first")
    lowest = node & -node  # the whole subtree at the old tree's right edge
    hashes = path if lowest != node else [bytes.fromhex(proof["old_root"]), *path]
    old, new = climb((node - 1) // lowest, (size - 1) // lowest, hashes)
    check_root(roots[1], old_size, old)
    what = f"The first {old_size} events are those of the older root."
else:
    entry, event = bytes.fromhex(proof["entry"]), proof["event"]
    position, kind, status, *row = struct.unpack("<QII16s16s16s16s16s16sQIIIHHQ", entry)
    row = [str(x if isinstance(x, int) else int.from_bytes(x, "little")) for x in row]
    said = event["position"], event["kind"], event["status"] == "CREATED", proof["type"]
    same = said == (position, {2: "transfer"}.get(kind), status == 2**32 - 1, "nostro-inclusion")
    require(same and [str(event[name]) for name in FIELDS] == row, "the fields say something else")
    require(0 < position <= size, "there is no such event")
    _, new = climb(position - 1, size - 1, [hashlib.sha256(b"\0" + entry).digest(), *path])
    what = f"Event {position} is this transfer: {json.dumps(event, indent=2)}"
check_root(roots[0], size, new)
print(what)
