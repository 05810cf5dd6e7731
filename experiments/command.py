"""What every command does around its work: sentences instead of tracebacks, and exit statuses."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from hcrnn_pyro.distributed import Tell, lost_peer, process_group
from hcrnn_pyro.errors import UserError

DEFECT = 1
WRONG_INPUT = 2
INTERRUPTED = 130
DISK_ERRORS = {
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOSPC,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EDQUOT,
    errno.ENOTDIR,
}


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command and leave with its exit status.

    0 when it ends well; 2 with one sentence for what the user can put right; 130 after Ctrl-C; 141 when the reader of
    the output went away. Anything else is a defect, and shows its traceback. Of several processes of ``torchrun`` one
    says the sentence.
    """
    with process_group() as tell:
        _run(main, tell)
    sys.exit(0)


def _run(main: Callable[[], None], tell: Tell) -> None:
    def leave(sentence: str, status: int) -> NoReturn:
        tell(sentence)
        sys.exit(status)

    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        leave(str(error), WRONG_INPUT)
    except KeyboardInterrupt as stop:
        leave(str(stop) or "Stopped.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush into
        sys.exit(141)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        leave(f"{error.filename or 'A file'}: {error.strerror}. Check the flags that name files.", WRONG_INPUT)
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        leave("Another process of this run has ended before its time; torchrun tells which.", DEFECT)
