"""The command: `isoflop`, and `python -m isoflop`."""

import sys  # nothing else: see `leave_the_working_folder`


def leave_the_working_folder() -> None:
    """Import nothing more from the working folder, which `python -m` looks through first: it may hold a `json.py`.

    An isoflop that lies there, a checkout that was not installed, is looked for last.
    """
    if not sys.flags.safe_path and sys.path:
        root = __file__.rpartition("isoflop")[0].rstrip("/")
        del sys.path[0]
        if root not in sys.path:
            sys.path.append(root)


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it at once, and without a traceback."""
    import gc
    import signal

    answer = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from isoflop.cli import app
    from isoflop.cli.streams import prepare

    prepare()
    # The cells of a large sweep are millions of objects that all live on: looking through them for cycles every 700 new
    # ones takes a seventh of `plan` of 100,000 cells.
    gc.set_threshold(200_000, 50, 1000)
    signal.signal(signal.SIGINT, answer)
    app(prog_name="isoflop")


if __name__ == "__main__":
    leave_the_working_folder()
    main()
