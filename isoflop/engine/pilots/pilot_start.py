"""Starts a pilot; the processes that it forks look at this module again, and at no more.

python -m isoflop.engine.pilots.pilot_start FOLDER NUMBER
"""

import sys

if __name__ == "__main__":
    from isoflop.engine.pilots.pilot import main

    sys.exit(main(*sys.argv[1:]))
