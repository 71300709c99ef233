"""Make up histories of wallets whose behaviour is known, as messages."""

from __future__ import annotations

import sys

from scorestream.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["generate_wallets", *sys.argv[1:]]))
