"""The process that looks at one graph: reads a request from its input, writes one answer, and ends.

What the graph's code prints goes to the error output, so that the answer stays the answer.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    """Answer with the documents of the graph that was asked for, or with what is wrong and code 2."""
    output = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    from countersign.audit.errors import ConfigurationError  # noqa: PLC0415 - prints of imports are caught as well

    from .look import look  # noqa: PLC0415

    code = 0
    try:
        answer = look(request)
    except ConfigurationError as error:
        code, answer = 2, {"message": error.message, "remedy": error.remedy}
    with os.fdopen(output, "w") as stream:
        json.dump(answer, stream)
    return code


if __name__ == "__main__":
    # Threads that the graph's module has left running must not hold the answer up.
    ended = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended)
