"""What pyarrow raises of files that are cut off or altered."""


def arrow_damage() -> tuple[type[Exception], ...]:
    """The exceptions that a damaged file can end in."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, LookupError, MemoryError, OverflowError, RuntimeError, TypeError)


def in_words(error: Exception) -> str:
    """How pyarrow's account ends a sentence: its parts and addresses mean nothing to a user."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, NotImplementedError):
        return "it is written in a way that the installed pyarrow does not read"
    return "it was cut off or altered"
