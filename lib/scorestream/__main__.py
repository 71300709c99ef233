"""`python -m scorestream`: the command `scorestream` of this Python."""

import sys

from scorestream.commands.main import main

sys.exit(main())
