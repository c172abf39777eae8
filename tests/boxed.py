"""Run a module in a folder that has code of its own: `python -m tests.boxed FOLDER module arguments...`.

As a launch it is a fork of a process that has PyTorch and no code of the project but the launcher's, which it forgets.
"""

import os
import runpy
import sys


def main(folder: str, *words: str) -> None:
    """What `python -m module arguments...` does in a folder."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lib", "tests")]:
        del sys.modules[name]
    os.chdir(folder)
    sys.path[0], sys.argv = folder, list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
