"""Ends pilots by hand, by the names that `isoflop` tells of them; RAY_ADDRESS names the cluster.

python -m isoflop.engine.ray.ray_cancel JOB...
"""

import os
import sys
from collections.abc import Sequence

from isoflop.engine.ray.ray_cluster import LOOK_SECONDS, address_of
from isoflop.engine.ray.ray_link import NoAnswerError, RayLink
from isoflop.errors import IsoflopError


def main(jobs: Sequence[str]) -> int:
    """Entry point: 0 where the cluster has heard it."""
    try:
        link = RayLink(address_of(None, os.environ), os.environ)
        link.open()
        link.ask("cancel", list(jobs), seconds=LOOK_SECONDS)
    except IsoflopError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        return 1
    except NoAnswerError:
        print("The cluster does not answer.", file=sys.stderr)
        return 1
    link.close(0.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
