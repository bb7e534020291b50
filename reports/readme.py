"""The README.txt of a bundle: how to check it, for somebody who has never heard of Countersign."""

from __future__ import annotations

_TEXT = """\
The trail {trail}
of the log {origin}

WHAT THIS IS
trail.jsonl holds every entry of one trail, in order, the last of which is the export itself. Each line is a DSSE
envelope: a signed body in base64. payloads.jsonl holds what is long or personal, keys.jsonl which keys may sign,
system.jsonl what else is relied on. tree-head is the signed head of the log, and the files with "proofs" in their name
show that every entry stands below it. docs/formats.md of Countersign describes all of them byte by byte.

CHECK EVERYTHING
Ask the log's owner for its verifier key, and do not take it from here:

    countersign verify-bundle bundle.zip --vkey KEY

Give --witness KEY as well for each organisation that watches the log. The exit code is 0 if all is well, 1 if something
is wrong, 2 if it could not run, and 3 if evidence is missing.

CHECK SOME OF IT WITH OTHER TOOLS
All files but manifest.json have their SHA-256 there; this prints them:

    sha256sum *.jsonl tree-head

The signature of line 1 of the trail, with openssl 3. KEY is the member public_key, in base64, of the line of keys.jsonl
that introduces the key:

    sed -n 1p trail.jsonl > line
    sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' line | base64 -d > body
    sed 's/.*"sig":"\\([^"]*\\)".*/\\1/' line | base64 -d > signature
    (printf 'DSSEv1 38 application/vnd.countersign.entry+json %d ' $(wc -c < body); cat body) > signed
    (printf '0*0\\005\\006\\003+ep\\003!\\000'; echo "$KEY" | base64 -d) > key.der
    openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -rawin -in signed -sigfile signature

The leaf hash of that entry, which the next entry names as "prev":

    (printf '\\000'; cat body) | sha256sum

That the export is in the log: any verifier of C2SP's tlog-proof takes exported.tlog-proof.
The seal of report.pdf, where there is one: pdfsig report.pdf
The seal of trail.csv, where there is one:

    openssl cms -verify -binary -inform DER -in trail.csv.p7s -content trail.csv -CAfile ca.pem -purpose any

WHAT IT DOES NOT SHOW
That nobody was shown another trail of this name, which takes a reading of the whole log; and who holds a key.
"""


def readme_text(origin: str, trail: str) -> str:
    """Return the text for the bundle of this trail of this log."""
    return _TEXT.format(origin=origin, trail=trail)
