"""What a command says about a fault that a person can mend."""


def is_sentence(err: str) -> bool:
    """stderr ends with one sentence and one hint, and nowhere shows a traceback."""
    message, hint = err.strip().splitlines()[-2:]
    told = message.startswith("Error: ") and message.endswith(".") and hint.startswith("Hint: ")
    return told and "Traceback" not in err
