"""Ends pilots by hand, by the names that `isoflop` tells of them; RAY_ADDRESS names the cluster.

python -m isoflop.engine.ray.ray_cancel JOB...
"""

import os
import sys
from collections.abc import Sequence

from isoflop.engine.ray import ray_errors
from isoflop.engine.ray.ray_cluster import LOOK_SECONDS, address_of, see_what_is_installed
from isoflop.engine.ray.ray_link import NoAnswerError, RayLink
from isoflop.errors import IsoflopError


def main(jobs: Sequence[str]) -> int:
    """Entry point: 0 where the cluster knows them all, and has heard it; the others end all the same."""
    if not jobs:
        print("Name the jobs to end: python -m isoflop.engine.ray.ray_cancel JOB...", file=sys.stderr)
        return 1
    try:
        _cancel(jobs)
    except IsoflopError as error:
        print(f"Error: {error.message}\nHint: {error.hint}", file=sys.stderr)
        return 1
    return 0


def _cancel(jobs: Sequence[str]) -> None:
    if not os.environ.get("RAY_ADDRESS"):
        raise ray_errors.no_address_to_cancel()
    address = address_of(None, os.environ)
    see_what_is_installed(address)
    link = RayLink(address, os.environ)
    link.open()
    try:
        unknown = link.ask("cancel", list(jobs), seconds=LOOK_SECONDS)
    except NoAnswerError:
        raise ray_errors.silent(address, link.trouble) from None
    finally:
        link.close(0.0)
    if unknown:
        raise ray_errors.unknown(unknown, address)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
