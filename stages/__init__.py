"""One module per DVC stage; each is run as `python -m stages.<name> [argument]` in the repository's root."""

import sys
from collections.abc import Callable

from lib.errors import InputError


def run(main: Callable[..., None]) -> None:
    """Call a stage's main with the command line's arguments; bad input ends it with one line and exit status 1."""
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{place}")
