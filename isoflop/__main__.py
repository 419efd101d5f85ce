"""The command: `isoflop`, and `python -m isoflop`."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it at once, and without a traceback."""
    answer = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from isoflop.cli import app
    from isoflop.cli.streams import prepare

    prepare()
    signal.signal(signal.SIGINT, answer)
    app(prog_name="isoflop")


if __name__ == "__main__":
    main()
