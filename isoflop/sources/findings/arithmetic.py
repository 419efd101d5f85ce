"""In what arithmetic a run was computed, in words."""

from collections.abc import Mapping


def arithmetic(execution: Mapping[str, object]) -> str:
    """`bfloat16`, `float32, math attention, compiled`: what of `execution` moves losses beyond the last bits.

    The number of threads and the micro-batch only change the order of sums.
    """
    kernel = execution.get("attention", "default")
    precision = execution.get("dtype")
    words = [
        precision if isinstance(precision, str) else "unknown precision",
        *([f"{kernel} attention"] if kernel != "default" else []),
        *(["compiled"] if execution.get("compile") else []),
    ]
    return ", ".join(words)
