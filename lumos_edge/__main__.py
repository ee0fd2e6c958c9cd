"""Where `lumos-edge` and `python -m lumos_edge` begin, and where an interrupt ends."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C, at any moment, is one line on stderr and exit code 130."""
    try:
        from lumos_edge import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("lumos-edge: interrupted\n")
        sys.stderr.flush()
        # Not sys.exit: its cleaning up would free the model under native code that another thread still runs.
        os._exit(130)


if __name__ == "__main__":
    main()
