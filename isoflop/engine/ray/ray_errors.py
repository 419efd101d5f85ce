"""What goes wrong between this machine and a Ray cluster, in a sentence; no token is ever in one."""

import re
from collections.abc import Sequence

from isoflop.engine.pilots.cluster import ClusterAwayError
from isoflop.errors import IsoflopError

_ENDED_NODE = ("node has died", "node was terminated", "node is dead")


def not_installed() -> IsoflopError:
    """Ray cannot be imported here."""
    return IsoflopError("Ray is not installed here.", hint='Install it: pip install "isoflop[ray]".')


def no_client() -> IsoflopError:
    """Ray is here, without what speaks to a client server."""
    return IsoflopError(
        "An address ray:// needs Ray's client, which is not installed here.",
        hint='Install it here and on the head: pip install "ray[client]".',
    )


def no_address_to_cancel() -> IsoflopError:
    """No cluster was named to the program that ends actors."""
    return IsoflopError(
        "RAY_ADDRESS, which names the Ray cluster, is not set.",
        hint="Write it before the command: RAY_ADDRESS=HOST:6379 python -m isoflop.engine.ray.ray_cancel JOB...",
    )


def unknown(jobs: Sequence[str], address: str) -> IsoflopError:
    """Ray has no actors of these names."""
    return IsoflopError(
        f"The Ray cluster at {address} has no actor called {', '.join(jobs)}.",
        hint="They have ended, or are called otherwise: `isoflop status` has the names.",
    )


def no_address() -> IsoflopError:
    """No cluster was named."""
    return IsoflopError(
        "There is no address of a Ray cluster.",
        hint='Name its head: --engine-option address=HOST:6379, [engine.ray] address = "HOST:6379", or RAY_ADDRESS.',
    )


def bad_address(address: str) -> IsoflopError:
    """The address says nothing that is a place."""
    return IsoflopError(
        f"{address!r} is not the address of a Ray cluster.",
        hint="Give host and port, HOST:6379 or ray://HOST:10001; isoflop joins no cluster that was not named.",
    )


def unreachable(address: str, why: str) -> IsoflopError:
    """Nobody answers there."""
    return IsoflopError(
        f"No Ray cluster answers at {address}: {why}.",
        hint="Is its head up, and is this a node of the cluster? From elsewhere connect to the head's client server: "
        "ray://HOST:10001.",
    )


def not_let_in(address: str, *, has_token: bool) -> IsoflopError:
    """The cluster wants another token."""
    what = "does not take the token given here" if has_token else "wants a token, and none is given here"
    return IsoflopError(
        f"The Ray cluster at {address} {what}.",
        hint="Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, as on the cluster.",
    )


def other_version(address: str, text: str) -> IsoflopError:
    """Ray or Python there is another, as Ray says in `text`."""
    there, here = (_versions(part) for part in (*text.split("This process", 1), "")[:2])
    which = f": {there} there, {here} here" if there and here else ""
    return IsoflopError(
        f"The Ray cluster at {address} has another version of Ray or Python{which}.",
        hint="Install the cluster's versions of both here; Ray connects no others.",
    )


def _versions(text: str) -> str:
    ray, python = re.search(r"Ray: (\S+)", text), re.search(r"Python: (\S+)", text)
    return f"Ray {ray[1]} on Python {python[1]}" if ray and python else ""


def refused(text: str) -> IsoflopError:
    """Ray did not take a request, as it says in `text`."""
    return IsoflopError(
        f"Ray refused: {first_line(text)}.",
        hint="Look at num_gpus, num_cpus, memory and resources; `ray status` says what the cluster has.",
    )


def no_driver(error: OSError) -> IsoflopError:
    """The process that speaks to Ray cannot be started here."""
    place = f" ({error.filename})" if error.filename else ""
    return IsoflopError(
        f"The process that speaks to Ray does not start: {error.strerror or error}{place}.",
        hint="See whether this machine has room in its temporary folder (TMPDIR), and for more processes (ulimit -u).",
    )


def silent(address: str, why: IsoflopError | None = None) -> ClusterAwayError:
    """The cluster was there, and no longer answers; `why` it cannot be reached again, where that is known."""
    if why is not None:
        return ClusterAwayError(why.message, hint=f"{why.hint} The same command takes the sweep up again.")
    return ClusterAwayError(
        f"The Ray cluster at {address} does not answer.",
        hint="Is its head up? The same command takes the sweep up again.",
    )


def not_copied(host: str, text: str) -> IsoflopError:
    """An actor cannot write what it is given, or read what it has, as Ray says in `text`."""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    why = said[-1][:200].rstrip(".") if said else "nothing was said"
    return IsoflopError(
        f"Files of runs cannot be copied to {host}, or from there: {why}.",
        hint="Make room in the temporary folder of that node; the same command continues.",
    )


def first_line(text: str) -> str:
    """The first line that says something, 200 characters at most, without its full stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0][:200] if lines else "nothing was said").rstrip(".")


def words_of_death(text: str) -> tuple[str, str]:
    """Why an actor is no more and on which node it was ("" where that is not said), from what Ray says in `text`."""
    node = re.search(r"^\s*ip: (\S+)", text, re.MULTILINE)
    if any(words in text for words in _ENDED_NODE):
        return "NodeDied", node[1] if node else ""
    said = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\t")]
    reason = said[-1].partition(" Some common causes")[0] if said else "nothing was said"
    return f"ActorDied, {reason[:250].rstrip('.')}", node[1] if node else ""
