"""The pilot as a child of an actor: it dies with the actor's process, however that ends.

python -m isoflop.engine.ray.ray_pilot FOLDER NUMBER PARENT_PID
"""

import sys

if __name__ == "__main__":  # the processes that it forks look at this module again
    from isoflop.engine.pilots.pilot import main
    from isoflop.train.process import die_at_once_with

    die_at_once_with(int(sys.argv[3]))
    sys.exit(main(*sys.argv[1:3]))
