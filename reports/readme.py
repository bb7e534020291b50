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
Ask the log's owner for its verifier key, and do not take it from here. Countersign is the program that wrote this file.
Get its source from somebody you trust, and install it from there, with Python 3.11 or newer. Do not ask a package index
for it: there the name "countersign" belongs to another program.

    python3 -m venv checking
    checking/bin/pip install /path/to/the/source
    checking/bin/countersign verify-bundle bundle.zip --vkey KEY

Give --witness KEY as well for each organisation that watches the log. The exit code is 0 if all is well, 1 if something
is wrong, 2 if it could not run, and 3 if evidence is missing.

CHECK SOME OF IT WITH OTHER TOOLS
The lines below run as they are printed, one after the other, in one shell, where the bundle is unpacked. They need
openssl 3, and write only into a folder of their own:

    t=$(mktemp -d)

All files but manifest.json have their SHA-256 there. This says OK of each:

    tr '{{' '\\n' < manifest.json > $t/listed
    sed -n 's/.*"path":"\\([^"]*\\)","sha256":"\\([0-9a-f]*\\)".*/\\2  \\1/p' $t/listed | sha256sum -c

The signature of an entry, here of line 1 of the trail. Its "keyid" is the SHA-256 of the key, which stands in base64 as
"public_key" in the body by which keys.jsonl introduces it:

    n=1
    sed -n "$n"p trail.jsonl > $t/line
    sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' $t/line | base64 -d > $t/body
    sed 's/.*"sig":"\\([^"]*\\)".*/\\1/' $t/line | base64 -d > $t/signature
    keyid=$(sed 's/.*"keyid":"\\([^"]*\\)".*/\\1/' $t/line)
    sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' keys.jsonl | while read -r payload; do
      echo "$payload" | base64 -d | sed -n 's/.*"public_key":"\\([^"]*\\)".*/\\1/p' | base64 -d > $t/one
      if [ "$(sha256sum < $t/one | cut -c 1-64)" = "$keyid" ]; then cp $t/one $t/key; fi
    done
    (printf 'DSSEv1 38 application/vnd.countersign.entry+json %d ' $(wc -c < $t/body); cat $t/body) > $t/signed
    (printf '0*0\\005\\006\\003+ep\\003!\\000'; cat $t/key) > $t/key.der
    openssl pkeyutl -verify -pubin -inkey $t/key.der -keyform DER -rawin -in $t/signed -sigfile $t/signature

The leaf hash of that entry, which the next entry names as "prev":

    (printf '\\000'; cat $t/body) | sha256sum

The signature of the log under its head. Put the verifier key between the quotes, from the log's owner:

    vkey='KEY'
    echo "$vkey" | cut -d + -f 3- | base64 -d | tail -c 32 > $t/log
    (printf '0*0\\005\\006\\003+ep\\003!\\000'; cat $t/log) > $t/log.der
    head -n 3 tree-head > $t/text
    grep -F " $(head -n 1 tree-head) " tree-head | head -n 1 | cut -d ' ' -f 3 | base64 -d | tail -c 64 > $t/log.sig
    openssl pkeyutl -verify -pubin -inkey $t/log.der -keyform DER -rawin -in $t/text -sigfile $t/log.sig

The time of that head, if the bundle has a file tree-head.tsr. tsa-ca.pem is the certificate of the time stamping
authority's CA, from the authority:

    openssl ts -verify -data $t/text -in tree-head.tsr -CAfile tsa-ca.pem

At the end:

    rm -r $t

That the export is in the log: any verifier of C2SP's tlog-proof takes exported.tlog-proof.
The seal of report.pdf, if the bundle has one: pdfsig report.pdf
The seal of trail.csv, if the bundle has one:

    openssl cms -verify -binary -inform DER -in trail.csv.p7s -content trail.csv -CAfile ca.pem -purpose any

WHAT IT DOES NOT SHOW
That nobody was shown another trail of this name, which takes a reading of the whole log; and who holds a key.
"""


def readme_text(origin: str, trail: str) -> str:
    """Return the text for the bundle of this trail of this log."""
    return _TEXT.format(origin=origin, trail=trail)
