"""What a check says: kept, broken or not judged, and a sentence; and how any exception becomes one."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hcrnn_pyro.components import REGISTRIES
from hcrnn_pyro.contract.subject import Subject
from hcrnn_pyro.errors import UserError

Verdict = Literal["kept", "broken", "not judged"]
MARKS: dict[Verdict, str] = {"kept": "ok", "broken": "FAIL", "not judged": "--"}
LONGEST_MESSAGE = 300

_HERE = Path(__file__).resolve().parents[1]
_NOT_THE_USERS = [
    _HERE,
    *(_HERE.parent / package for package, _ in REGISTRIES.values()),
    *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")),
]


@dataclass(frozen=True)
class Check:
    """One thing that the parts owe each other.

    Attributes:
        name: a few words, as they stand in the report.
        look: looks at the pair; raises :class:`UserError` with a sentence where it is broken, any other exception where
            a part fails, ``DoesNotApply`` where the pair has nothing of the kind. It may return a remark.
        needs: names of checks without which this one would only repeat their complaint.
    """

    name: str
    look: Callable[[Subject], str | None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Attributes:
        name: of the check.
        verdict: kept; broken; or not judged, as it does not apply or waits for another check.
        sentence: what was expected, what came and what to do; or why it was not judged; or a remark, or nothing.
    """

    name: str
    verdict: Verdict
    sentence: str = ""

    def __str__(self) -> str:
        """A line of the report."""
        return f"{MARKS[self.verdict]:<5} {self.name:<25} {self.sentence}".rstrip()


def told(error: Exception) -> str:
    """An exception as a sentence: our own as it stands, any other with its type and the user's line that raised it."""
    if isinstance(error, UserError):
        return str(error)
    root: BaseException = error
    while root.__cause__ is not None:  # Pyro raises again, with a page on the shapes of all sites
        root = root.__cause__
    message = " ".join(str(root).split())
    message = message if len(message) <= LONGEST_MESSAGE else message[:LONGEST_MESSAGE] + "..."
    return f"{type(root).__name__} in {_place(root)}: {message}"


def _place(error: BaseException) -> str:
    """File and line of the innermost frame in a file of the user's; where there is none, of the innermost one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    theirs = [frame for frame in frames if not any(map(Path(frame.filename).is_relative_to, _NOT_THE_USERS))]
    frame = (theirs or frames)[-1]
    file = Path(frame.filename)
    return f"{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}:{frame.lineno}"
