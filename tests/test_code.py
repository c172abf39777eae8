"""What code a module runs, and which changes of it count."""

import subprocess
import sys
from pathlib import Path

import pytest

from lib.code import digest, import_closure

FILES = {
    "stages/__init__.py": "",
    "stages/train.py": "import numpy\nfrom lib.models import hourglass\ndef main():\n    import lib.tasks.fpd as fpd\n",
    "stages/pack.py": "from lib.files import atomic\n",
    "lib/__init__.py": "",
    "lib/files.py": "import os\n",
    "lib/models/__init__.py": "from lib.files import atomic\n",
    "lib/models/hourglass.py": "from lib.models import build_model\n",  # in a circle
    "lib/models/pyranet.py": "",
    "lib/tasks/__init__.py": "",
    "lib/tasks/fpd.py": "",
}


def test_closure_follows_packages_circles_and_imports_inside_functions(tmp_path):
    for file, source in FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(source)
    assert import_closure("stages.pack", tmp_path) == [
        *("lib/__init__.py", "lib/files.py", "stages/__init__.py", "stages/pack.py")
    ]
    assert import_closure("stages.train", tmp_path) == sorted(
        FILES.keys() - {"stages/pack.py", "lib/models/pyranet.py"}
    )


@pytest.mark.parametrize(
    "stage", ["fetch", "convert", "pack", "specs", "train", "complexity", "evaluate", "report", "summary"]
)
def test_closure_covers_what_python_loads(stage):
    """All modules of the project that an import of a stage really loads are in its closure."""
    files = "{m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in ('lib', 'stages')} - {None}"
    command = [sys.executable, "-c", f"import sys, stages.{stage}; print(*{files}, sep=chr(10))"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    root = Path.cwd()
    assert {str(Path(path).relative_to(root)) for path in loaded} <= set(import_closure(f"stages.{stage}", root))


CODE = '''"""Docstring."""
import math

def area(r):
    """Of a disc."""
    return math.pi * r**2  # in px

class Empty:
    """Nothing."""
'''


@pytest.mark.parametrize(
    "old, new",
    [
        ('"""Docstring."""\n', ""),
        ("Of a disc.", "Of a circle's inside."),
        ("  # in px", ""),
        ("math.pi * r**2", "(math.pi *\n            r ** 2)"),
        ("import math\n", "import math\n\n\n"),
        ("Nothing.", "Something."),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(old, new):
    assert old in CODE
    assert digest(CODE.replace(old, new)) == digest(CODE)


@pytest.mark.parametrize(
    "old, new", [("**2", "**3"), ("area", "size"), ("import math", "import cmath as math"), ("(r)", "(r=1)")]
)
def test_everything_else_counts(old, new):
    assert old in CODE
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_a_string_that_is_no_docstring_counts():
    assert digest("def f():\n    return 'a'\n") != digest("def f():\n    return 'b'\n")
