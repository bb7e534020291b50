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

READ AND CHECK WHO SIGNED
verify-bundle lists who signed what, and which of it counts. By hand, where the trail is a case under sign-off: these
print each signature as it stands in the trail, its number as "seq", when as "occurred_at", who and in which role as
"actor"; then each decision, which names as "signed" the entries that it rests on:

    t=$(mktemp -d)
    sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' trail.jsonl | while read -r body; do
      echo "$body" | base64 -d; echo
    done > $t/bodies
    grep '"kind":"review.signed"' $t/bodies
    grep '"kind":"review.decided"' $t/bodies

What was signed, here first; for another one let n be its "seq". In "statement" stand the decision, what it means, and
the digest of what was shown; beside it the printed name and the reason:

    n=$(grep '"kind":"review.signed"' $t/bodies | head -n 1 | sed 's/.*"seq":\\([0-9]*\\),"spec".*/\\1/')
    grep ',"seq":'$n'}}$' payloads.jsonl > $t/line
    sed 's/^{{"data":\\(.*\\),"salt":"[0-9a-f]*","seq":[0-9]*}}$/\\1/' $t/line | tr -d '\\n' > $t/data
    cat $t/data; echo

That it is what the entry commits to. The two are the same, and say so:

    sed 's/.*,"salt":"\\([0-9a-f]*\\)".*/\\1/' $t/line | tr a-f A-F | basenc -d --base16 > $t/salt
    grep '"seq":'$n',"spec"' $t/bodies | sed 's/.*"payload":{{"digest":"\\([0-9a-f]*\\)".*/\\1/' > $t/digest
    echo "$(cat $t/salt $t/data | sha256sum | cut -c 1-64) $(cat $t/digest)"
    [ "$(cat $t/salt $t/data | sha256sum | cut -c 1-64)" = "$(cat $t/digest)" ] && echo "entry $n: OK"

What the signer was shown, from the entry of their first look at it, and that it has the digest that they signed:

    shown=$(sed 's/.*"shown_digest":"\\([0-9a-f]*\\)".*/\\1/' $t/data)
    grep '"kind":"review.viewed"' $t/bodies | grep "$shown" > $t/looks
    m=$(head -n 1 $t/looks | sed 's/.*"seq":\\([0-9]*\\),"spec".*/\\1/')
    grep ',"seq":'$m'}}$' payloads.jsonl > $t/line
    sed 's/^{{"data":{{"salt":"[0-9a-f]*","view":\\(.*\\)}},"salt":"[0-9a-f]*","seq":[0-9]*}}$/\\1/' $t/line > $t/view
    cat $t/view
    sed 's/^{{"data":{{"salt":"\\([0-9a-f]*\\)".*/\\1/' $t/line | tr a-f A-F | basenc -d --base16 > $t/salt
    [ "$( (cat $t/salt; tr -d '\\n' < $t/view) | sha256sum | cut -c 1-64)" = "$shown" ] && echo "view $m: OK"
    rm -r $t

The signature under that entry is checked as above, with n as its number: line n of trail.jsonl is entry n. It is that
of the service, which says that this person gave their password for this statement; no key of their own signs it.
Whether they had the role then stands in system.jsonl, and whether the signatures suffice for the policy there is what
verify-bundle finds ("authority").

WHAT IT DOES NOT SHOW
That nobody was shown another trail of this name, which takes a reading of the whole log; and who holds a key.
"""


def readme_text(origin: str, trail: str) -> str:
    """Return the text for the bundle of this trail of this log."""
    return _TEXT.format(origin=origin, trail=trail)
