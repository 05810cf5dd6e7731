"""The one exception for what a user can put right, and the sentences that name the nearest legal choice."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in the input, told in one sentence: what was expected, what came, what to do.

    Commands print the sentence to standard error and exit with status 2; no traceback is shown.
    """


def unknown_choice(kind: str, got: str, known: Iterable[str], hint: str = "") -> UserError:
    """Build the error for a name that is not in a registry.

    Args:
        kind: what was named, e.g. ``"prior"``.
        got: the name that came.
        known: the legal names.
        hint: a further sentence, e.g. how to point at an own implementation.
    """
    names = sorted(known)
    close = get_close_matches(got, names, n=1, cutoff=0.5)
    nearest = f" Did you mean {close[0]!r}?" if close else ""
    return UserError(f"Unknown {kind} {got!r}.{nearest} Known: {', '.join(names)}.{' ' + hint if hint else ''}")


def require(condition: bool, sentence: str) -> None:
    """Raise :class:`UserError` with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise UserError(sentence)
