"""Vectors of keys, notes with tree heads and cosignatures, and proofs in files: C2SP's specifications, word by word."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import rfc6962
from vectors.form import DEPLOYMENT, GRAPH, ORIGIN, STRANGER, Object, public, sign

LOG, COSIGNER = 0x01, 0x04
WITNESS, OTHER_WITNESS = "witness.invalid/\u00e9toile", "w2"
SECONDS = 1_740_832_215
BODIES = [b"body %d" % number for number in range(7)]
ROOT = rfc6962.tree_hash(BODIES)
EMPTY = hashlib.sha256(b"").digest()
P = 2**255 - 19


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def key_id(name: str, algorithm: int, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:4]


def vkey(name: str, algorithm: int, key: bytes) -> str:
    return f"{name}+{key_id(name, algorithm, key).hex()}+{b64(bytes([algorithm]) + key)}"


def line(name: str, identity: bytes, data: bytes) -> str:
    return f"\u2014 {name} {b64(identity + data)}\n"


def signed(text: str, seed: str = DEPLOYMENT, name: str = ORIGIN) -> str:
    return line(name, key_id(name, LOG, public(seed)), sign(seed, text.encode()))


def cosigned(text: str, seed: str = GRAPH, name: str = WITNESS, seconds: int = SECONDS) -> str:
    message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
    return line(name, key_id(name, COSIGNER, public(seed)), seconds.to_bytes(8, "big") + sign(seed, message))


def head(size: object = 7, root: str = b64(ROOT), origin: str = ORIGIN) -> str:
    return f"{origin}\n{size}\n{root}\n"


LOG_KEY = vkey(ORIGIN, LOG, public(DEPLOYMENT))
WITNESS_KEYS = [vkey(WITNESS, COSIGNER, public(GRAPH)), vkey(OTHER_WITNESS, COSIGNER, public(STRANGER))]
TEXT = head()
LINE, COLINE = signed(TEXT), cosigned(TEXT)


# --- keys


def key_vectors() -> Iterator[Object]:
    raw = public(DEPLOYMENT)
    for desc, name, algorithm in [
        ("a log's key", ORIGIN, LOG),
        ("a witness's key", WITNESS, COSIGNER),
        ("a name of one letter", "x", LOG),
        ("a name of 300 letters", "x" * 300, LOG),
    ]:
        yield {
            "desc": desc,
            "vkey": vkey(name, algorithm, raw),
            "name": name,
            "algorithm": algorithm,
            "publicKey": raw.hex(),
            "keyId": key_id(name, algorithm, raw).hex(),
            "wantErr": None,
        }
    name, identity, encoded = LOG_KEY.split("+", 2)
    padded = b64(b"\x01" + bytes(31))  # of 32 bytes; 33 need no padding
    weak = {"0": 0, "1": 1, "p-1": P - 1, "p+1": P + 1, "p": P}
    for desc, text, error in [
        ("nothing", "", "shape"),
        ("a name only", name, "shape"),
        ("no key", f"{name}+{identity}", "shape"),
        ("an empty key", f"{name}+{identity}+", "shape"),
        ("no name", vkey("", LOG, raw), "name"),
        ("a name with a space", vkey("a b", LOG, raw), "name"),
        ("a name with a no-break space", vkey("a\u00a0b", LOG, raw), "name"),
        ("a name with an em space", vkey("a\u2003b", LOG, raw), "name"),
        ("a name with a line separator", vkey("a\u2028b", LOG, raw), "name"),
        ("a name with a newline", vkey("a\nb", LOG, raw), "name"),
        ("a name with a plus sign", vkey("a+b", LOG, raw), "shape"),
        ("a key id in capitals", vkey("F", LOG, raw).replace(key_id("F", LOG, raw).hex(), "ABCDEF01"), "shape"),
        ("a key id of 7 digits", f"{name}+{identity[1:]}+{encoded}", "shape"),
        ("a key id of 9 digits", f"{name}+0{identity}+{encoded}", "shape"),
        ("another key id", f"{name}+00000000+{encoded}", "key-id"),
        ("the key id of another name", f"x+{identity}+{encoded}", "key-id"),
        ("no padding", f"{name}+{identity}+{padded[:-1]}", "base64"),
        ("a newline behind", LOG_KEY + "\n", "base64"),
        ("a space before", " " + LOG_KEY, "name"),
        ("URL-safe base64", f"{name}+{identity}+" + b64(b"\x01" + b"\xfb\xff" * 16).replace("+", "-"), "base64"),
        ("bits that base64 does not need", f"{name}+{identity}+{padded[:-2]}B=", "base64"),
        ("ECDSA", vkey(name, 0x02, raw), "algorithm"),
        ("ML-DSA-44", vkey(name, 0x06, raw), "algorithm"),
        ("31 bytes", vkey(name, LOG, raw[1:]), "length"),
        ("33 bytes", vkey(name, LOG, raw + b"\0"), "length"),
        ("no bytes", vkey(name, LOG, b""), "length"),
        *(
            (f"y = {what}, for {use}", vkey(name, use, y.to_bytes(32, "little")), "weak")
            for what, y in weak.items()
            for use in (LOG, COSIGNER)
        ),
    ]:
        yield {"desc": desc, "vkey": text, "wantErr": error}


# --- notes


def note(desc: str, text: str | bytes, error: str | None = None, **given: Any) -> Object:
    trust = {"logs": [LOG_KEY], "witnesses": WITNESS_KEYS, "quorum": 0} | given
    data = text if isinstance(text, bytes) else text.encode()
    return {"desc": desc, "noteHex": data.hex(), **trust, "wantErr": error}


def opened(desc: str, text: str, *, size: int = 7, root: bytes = ROOT, witnesses: int = 0, **given: Any) -> Object:
    cosignatures = [{"name": name, "seconds": SECONDS} for name in (WITNESS, OTHER_WITNESS)[:witnesses]]
    want = {"origin": ORIGIN, "size": size, "root": root.hex(), "cosignatures": cosignatures}
    return note(desc, text, **given) | {"want": want}


def other_signatures() -> Iterator[Object]:
    """Lines of keys that nobody here knows."""
    stranger = signed(TEXT, STRANGER, "somebody.invalid")
    unknown = line("post-quantum.invalid", b"\1\2\3\4", bytes(2420))
    same_name = line(ORIGIN, b"\0\0\0\0", b"?")
    same_id = line("x", key_id(ORIGIN, LOG, public(DEPLOYMENT)), b"?")
    yield opened("a stranger's signature besides", f"{TEXT}\n{LINE}{stranger}")
    yield opened("a long signature of an unknown kind besides", f"{TEXT}\n{unknown}{LINE}")
    yield opened("the log's name under another key id besides", f"{TEXT}\n{same_name}{LINE}")
    yield opened("the log's key id under another name besides", f"{TEXT}\n{same_id}{LINE}")
    yield opened("an unknown line twice", f"{TEXT}\n{stranger}{LINE}{stranger}")
    yield opened("100 signatures", f"{TEXT}\n{stranger * 99}{LINE}")
    yield note("101 signatures", f"{TEXT}\n{stranger * 100}{LINE}", "too-many")
    yield note("only a stranger's signature", f"{TEXT}\n{stranger}", "unsigned")
    yield note("a stranger's signature under the log's name", f"{TEXT}\n{signed(TEXT, STRANGER)}", "unsigned")
    yield note("only the log's name", f"{TEXT}\n{same_name}", "unsigned")
    yield note("only the log's key id", f"{TEXT}\n{same_id}", "unsigned")
    yield note("only witnesses", f"{TEXT}\n{COLINE}", "unsigned")


def wrong_signatures() -> Iterator[Object]:
    """Lines of known keys that those keys did not sign."""
    identity, cosigner = key_id(ORIGIN, LOG, public(DEPLOYMENT)), key_id(WITNESS, COSIGNER, public(GRAPH))
    forged = line(ORIGIN, identity, sign(STRANGER, TEXT.encode()))
    stamp = SECONDS.to_bytes(8, "big")
    message = f"cosignature/v1\ntime {SECONDS}\n{TEXT}".encode()
    late = 2**63
    known, witness = f" {ORIGIN} ", f" {WITNESS} "
    for desc, lines in [
        ("a stranger's signature under the log's key id", forged),
        ("a forged line behind the log's", LINE + forged),
        ("a forged line before the log's", forged + LINE),
        ("the log's line twice", LINE + LINE),
        ("a signature of another text", signed(head(8))),
        ("a signature without its last byte", line(ORIGIN, identity, sign(DEPLOYMENT, TEXT.encode())[:-1])),
        ("a signature with a byte more", line(ORIGIN, identity, sign(DEPLOYMENT, TEXT.encode()) + b"\0")),
        ("a signature of one byte", line(ORIGIN, identity, b"?")),
        ("a cosignature by the log's key", line(ORIGIN, identity, stamp + sign(DEPLOYMENT, message))),
        ("a witness's line twice", LINE + COLINE + COLINE),
        ("two cosignatures of a witness", LINE + COLINE + cosigned(TEXT, seconds=SECONDS + 1)),
        ("a cosignature of another text", LINE + cosigned(head(8))),
        ("a cosignature of another time", LINE + line(WITNESS, cosigner, bytes(8) + sign(GRAPH, message))),
        ("a cosignature without time", LINE + line(WITNESS, cosigner, sign(GRAPH, message))),
        ("a cosignature of the text alone", LINE + line(WITNESS, cosigner, stamp + sign(GRAPH, TEXT.encode()))),
        ("a cosignature cut in its time", LINE + line(WITNESS, cosigner, stamp[:3])),
        ("a cosignature by another key", LINE + line(WITNESS, cosigner, stamp + sign(STRANGER, message))),
        ("a cosignature of the year 292277026596", LINE + cosigned(TEXT, seconds=late)),
    ]:
        yield note(
            desc, f"{TEXT}\n{lines}", "duplicate" if lines.count(known) > 1 or lines.count(witness) > 1 else "signature"
        )


def malformed_notes() -> Iterator[Object]:
    good = f"{TEXT}\n{LINE}"
    blob = LINE.split(" ")[2].strip()
    cases: list[tuple[str, str | bytes, str]] = [
        ("nothing", "", "no-blank-line"),
        ("a text only", TEXT, "no-blank-line"),
        ("no blank line", TEXT + LINE, "no-blank-line"),
        ("no signature", TEXT + "\n", "no-signature"),
        ("no final newline", good[:-1], "no-final-newline"),
        ("a blank line behind", good + "\n", "no-signature"),
        ("a blank line between signatures", f"{TEXT}\n{LINE}\n{signed(TEXT, STRANGER, 'x')}", "unsigned"),
        ("a line of text behind", good + "?\n", "signature-line"),
        ("a space behind", good + " ", "no-final-newline"),
        ("a carriage return", good.replace("\n", "\r\n"), "no-blank-line"),
        ("a carriage return in the text", good.replace("7\n", "7\r\n", 1), "control"),
        ("a tab in the text", good.replace("7\n", "\t7\n", 1), "control"),
        ("NUL in the text", good.replace("7\n", "7\0\n", 1), "control"),
        ("a control character in a name", good + LINE.replace(ORIGIN, "a\x1fb"), "name"),
        ("Latin-1", good.encode().replace(b"vectors", b"v\xe9ctors"), "utf-8"),
        ("a lone surrogate", good.encode().replace(b"vectors", b"\xed\xa0\x80"), "utf-8"),
        ("an overlong newline", good.encode().replace(b"7\n", b"7\xc0\x8a", 1), "utf-8"),
        ("UTF-16", good.encode("utf-16"), "utf-8"),
        ("a hyphen for the dash", good.replace("\u2014", "-"), "signature-line"),
        ("an en dash for the dash", good.replace("\u2014", "\u2013"), "signature-line"),
        ("no space behind the dash", good.replace("\u2014 ", "\u2014"), "signature-line"),
        ("two spaces behind the dash", good.replace("\u2014 ", "\u2014  "), "name"),
        ("two spaces behind the name", good.replace(f"{ORIGIN} ", f"{ORIGIN}  "), "base64"),
        ("no name", good.replace(f"\u2014 {ORIGIN}", "\u2014 "), "name"),
        ("no signature behind the name", f"{TEXT}\n\u2014 {ORIGIN}\n", "signature-line"),
        ("an empty signature", f"{TEXT}\n\u2014 {ORIGIN} \n", "short"),
        ("a signature of a key id only", f"{TEXT}\n{line(ORIGIN, b'abcd', b'')}", "short"),
        ("a signature of 3 bytes", f"{TEXT}\n{line(ORIGIN, b'abc', b'')}", "short"),
        ("a plus sign in a name", good + LINE.replace(ORIGIN, "a+b"), "name"),
        ("a no-break space in a name", good + LINE.replace(ORIGIN, "a\u00a0b"), "name"),
        ("a next line in a name", good + LINE.replace(ORIGIN, "a\u0085b"), "name"),
        ("no padding", good.replace("=", ""), "base64"),
        ("more padding", good[:-1] + "====\n", "base64"),
        (
            "URL-safe base64",
            f"{TEXT}\n\u2014 {ORIGIN} {b64(b'????' + bytes([251, 255] * 32)).replace('+', '-')}\n",
            "base64",
        ),
        ("a space in the base64", good.replace(blob, f"{blob[:8]} {blob[8:]}"), "base64"),
        ("a space behind the base64", good[:-1] + " \n", "base64"),
        ("bits that base64 does not need", f"{TEXT}\n{LINE}\u2014 x AAAAAAB=\n", "base64"),
    ]
    for desc, text, error in cases:
        yield note(desc, text, error)


def heads() -> Iterator[Object]:
    """Texts that the log has signed, and that are, or are not, tree heads."""
    for size, root in [(0, EMPTY), (1, ROOT), (2**63 - 1, ROOT)]:
        text = head(size, b64(root))
        yield opened(f"a tree of size {size}", f"{text}\n{signed(text)}", size=size, root=root)
    for desc, text, error in [
        ("another log's head", head(origin="vectors.invalid/other"), "origin"),
        ("the log's name in capitals", head(origin=ORIGIN.upper()), "origin"),
        ("an extension line", TEXT + "extension\n", "three-lines"),
        ("an empty line behind", TEXT + "\n", "three-lines"),
        ("no root", f"{ORIGIN}\n7\n", "three-lines"),
        ("an empty text", "\n", "three-lines"),
        ("no origin", head(origin=""), "origin-name"),
        ("a space in the origin", head(origin="a b"), "origin-name"),
        ("a plus sign in the origin", head(origin="a+b"), "origin-name"),
        ("a leading zero", head("07"), "decimal"),
        ("00", head("00", b64(EMPTY)), "decimal"),
        ("a plus sign", head("+7"), "decimal"),
        ("a minus sign", head("-7"), "decimal"),
        ("a space before the size", head(" 7"), "decimal"),
        ("a space behind the size", head("7 "), "decimal"),
        ("no size", head(""), "decimal"),
        ("hex", head("0x7"), "decimal"),
        ("an exponent", head("7e0"), "decimal"),
        ("an underscore", head("1_0"), "decimal"),
        ("Arabic digits", head("\u0667"), "decimal"),
        ("2^63", head(2**63), "decimal"),
        ("10^20", head(10**20), "decimal"),
        ("no root hash", head(root=""), "hash"),
        ("31 bytes of root", head(root=b64(ROOT[1:])), "hash"),
        ("33 bytes of root", head(root=b64(ROOT + b"\0")), "hash"),
        ("a root in hex", head(root=ROOT.hex()), "hash"),
        ("a root without padding", head(root=b64(ROOT).rstrip("=")), "base64"),
        ("a root with bits that base64 does not need", head(root=b64(bytes(32))[:-2] + "B="), "base64"),
        ("an empty tree with a root", head(0), "empty-root"),
    ]:
        yield note(desc, f"{text}\n{signed(text)}", error)


def note_vectors() -> Iterator[Object]:
    second = cosigned(TEXT, STRANGER, OTHER_WITNESS)
    both = f"{TEXT}\n{LINE}{COLINE}{second}"
    yield opened("a tree head of the log", f"{TEXT}\n{LINE}")
    yield opened("with a cosignature", f"{TEXT}\n{LINE}{COLINE}", witnesses=1, quorum=1)
    yield opened("with a cosignature before it", f"{TEXT}\n{COLINE}{LINE}", witnesses=1, quorum=1)
    yield opened("with two cosignatures", both, witnesses=2, quorum=2)
    yield opened("with cosignatures of witnesses nobody asked for", both, witnesses=1, quorum=1, logs=[LOG_KEY]) | {
        "witnesses": WITNESS_KEYS[:1]
    }
    yield note("no cosignature where one is asked for", f"{TEXT}\n{LINE}", "quorum", quorum=1)
    yield note("one cosignature where two are asked for", f"{TEXT}\n{LINE}{COLINE}", "quorum", quorum=2)
    yield note("a stranger's cosignature", f"{TEXT}\n{LINE}{second}", "quorum", quorum=1, witnesses=WITNESS_KEYS[:1])
    for successor, desc in ((signed(TEXT, STRANGER), "both log keys"), ("", "the old of two log keys")):
        logs = [LOG_KEY, vkey(ORIGIN, LOG, public(STRANGER))]
        yield opened(f"signed by {desc}", f"{TEXT}\n{LINE}{successor}", logs=logs, witnesses=0) | {"witnesses": []}
    for part in (other_signatures, wrong_signatures, malformed_notes, heads):
        yield from part()


# --- proofs in files


def proof(desc: str, text: str, error: str | None = None, body: bytes = BODIES[5]) -> Object:
    trust = {"logs": [LOG_KEY], "witnesses": WITNESS_KEYS, "quorum": 1}
    return {"desc": desc, "proof": text, "body": body.decode(), **trust, "wantErr": error}


def proof_vectors() -> Iterator[Object]:
    spec, index = "c2sp.org/tlog-proof@v1\n", "index 5\n"
    path = "".join(f"{b64(value)}\n" for value in rfc6962.audit_path(5, BODIES))
    signed_head = f"{TEXT}\n{LINE}{COLINE}"
    first, rest = path.split("\n", 1)
    one = head(1, b64(rfc6962.leaf_hash(b"only")))
    yield proof("as it is", f"{spec}{index}{path}\n{signed_head}")
    yield proof("with extra data", f"{spec}extra AAECAw==\n{index}{path}\n{signed_head}")
    yield proof("of the only leaf", f"{spec}index 0\n\n{one}\n{signed(one)}{cosigned(one)}", body=b"only")
    for desc, text, error in [
        ("nothing", "", "no-blank-line"),
        ("no tree head", f"{spec}{index}{path}", "no-blank-line"),
        ("another version", f"{spec}{index}{path}\n{signed_head}".replace("@v1", "@v2"), "spec"),
        ("no first line", f"{index}{path}\n{signed_head}", "spec"),
        ("a space before", f" {spec}{index}{path}\n{signed_head}", "spec"),
        ("a carriage return", f"{spec}{index}{path}".replace("\n", "\r\n") + f"\n{signed_head}", "spec"),
        ("no index", f"{spec}{path}\n{signed_head}", "index"),
        ("nothing but the first line", f"{spec}\n{signed_head}", "index"),
        ("the index behind the hashes", f"{spec}{path}{index}\n{signed_head}", "index"),
        ("the index twice", f"{spec}{index}{index}{path}\n{signed_head}", "base64"),
        ("extra data behind the index", f"{spec}{index}extra AAECAw==\n{path}\n{signed_head}", "base64"),
        ("extra data twice", f"{spec}extra AAEC\nextra AAEC\n{index}{path}\n{signed_head}", "index"),
        ("empty extra data", f"{spec}extra \n{index}{path}\n{signed_head}", "empty-extra"),
        ("extra data without space", f"{spec}extra\n{index}{path}\n{signed_head}", "index"),
        ("extra data that is not base64", f"{spec}extra ???\n{index}{path}\n{signed_head}", "base64"),
        ("extra data beyond ASCII", f"{spec}extra \u00e9\n{index}{path}\n{signed_head}", "ascii"),
        ("a leading zero", f"{spec}index 05\n{path}\n{signed_head}", "decimal"),
        ("a negative index", f"{spec}index -5\n{path}\n{signed_head}", "decimal"),
        ("no number", f"{spec}index \n{path}\n{signed_head}", "decimal"),
        ("an index of 2^63-1", f"{spec}index {2**63 - 1}\n{path}\n{signed_head}", "decimal"),
        ("a hash in hex", f"{spec}{index}{bytes(32).hex()}\n{rest}\n{signed_head}", "hash"),
        ("a hash without padding", f"{spec}{index}{first[:-1]}\n{rest}\n{signed_head}", "base64"),
        ("a hash cut", f"{spec}{index}{b64(bytes(31))}\n{rest}\n{signed_head}", "hash"),
        ("64 hashes", f"{spec}{index}{(first + chr(10)) * 64}\n{signed_head}", "too-many"),
        ("63 hashes", f"{spec}{index}{(first + chr(10)) * 63}\n{signed_head}", "proof-length"),
        ("an empty line too many", f"{spec}{index}{path}\n\n{signed_head}", "signature"),
        ("a hash too few", f"{spec}{index}{rest}\n{signed_head}", "proof-length"),
        ("a hash too many", f"{spec}{index}{path}{first}\n\n{signed_head}", "proof-length"),
        ("hashes turned round", f"{spec}{index}{''.join(path.splitlines(keepends=True)[::-1])}\n{signed_head}", "root"),
        ("another leaf", f"{spec}index 4\n{path}\n{signed_head}", "root"),
        ("a leaf that is not there", f"{spec}index 7\n{path}\n{signed_head}", "range"),
        ("no signature of the log", f"{spec}{index}{path}\n{TEXT}\n{COLINE}", "unsigned"),
        ("no cosignature", f"{spec}{index}{path}\n{TEXT}\n{LINE}", "quorum"),
        ("another tree head", f"{spec}{index}{path}\n{head(8)}\n{LINE}{COLINE}", "signature"),
        ("no final newline", f"{spec}{index}{path}\n{signed_head[:-1]}", "no-final-newline"),
    ]:
        yield proof(desc, text, error)
    yield proof("another body", f"{spec}{index}{path}\n{signed_head}", "root", body=b"forged")


def notes() -> Object:
    return {"keys": list(key_vectors()), "notes": list(note_vectors())}


def proofs() -> Object:
    return {"proofs": list(proof_vectors())}
