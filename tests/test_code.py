"""What code a module runs, and which changes of it count."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from lib.code import SILENT, closure, digest

ROOT = Path(__file__).resolve().parents[1]
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
    assert closure(["stages.pack"], tmp_path) == [
        *("lib/__init__.py", "lib/files.py", "stages/__init__.py", "stages/pack.py")
    ]
    assert closure(["stages.train"], tmp_path) == sorted(FILES.keys() - {"stages/pack.py", "lib/models/pyranet.py"})
    both = closure(["stages.pack", "lib.models.pyranet"], tmp_path)
    assert set(both) == {*closure(["stages.pack"], tmp_path), "lib/models/__init__.py", "lib/models/pyranet.py"}


def test_what_is_left_out_takes_along_what_it_alone_loads(tmp_path):
    for file, source in FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(source)
    (tmp_path / "lib/errors.py").write_text("import lib.models.pyranet\n")
    (tmp_path / "lib/files.py").write_text("from lib.errors import InputError\n")
    assert closure(["stages.pack"], tmp_path) == [
        *("lib/__init__.py", "lib/files.py", "stages/__init__.py", "stages/pack.py")
    ]
    without = closure(["stages.train"], tmp_path, without=["lib.models"])
    assert without == [
        *("lib/__init__.py", "lib/tasks/__init__.py", "lib/tasks/fpd.py", "stages/__init__.py", "stages/train.py")
    ]


STAGES = sorted(f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
TASKS = sorted(f"lib.tasks.{path.stem}" for path in (ROOT / "lib/tasks").glob("*.py") if path.stem != "__init__")


MODULES = [*STAGES, "lib.training.seeds"]
LOADED = """
import importlib, json, sys
found = {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    own = [name for name in sys.modules if name.split(".")[0] in ("lib", "stages")]
    found[module] = [sys.modules.pop(name).__file__ for name in own]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str | None]]:
    """The project's files that each import loads, in one interpreter, which forgets them in between."""
    command = [sys.executable, "-c", LOADED, *MODULES]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("module", MODULES)
def test_closure_covers_what_python_loads(loaded, module):
    """All modules of the project that an import really loads are in its closure, or silent."""
    silent = {f"{name.replace('.', '/')}.py" for name in SILENT}
    files = {str(Path(path).relative_to(ROOT)) for path in loaded[module] if path}
    assert f"{module.replace('.', '/')}.py" in files and files <= {*closure([module], ROOT), *silent}


def test_silent_modules_exist():
    """A name that is gone would silence nothing."""
    assert all((ROOT / f"{name.replace('.', '/')}.py").is_file() for name in SILENT)


CODE = '''"""Docstring."""
import math
from lib.errors import InputError

def area(r):
    """Of a disc."""
    return math.pi * r**2  # in px

class Empty:
    """Nothing."""

def check(r, name):
    if r < 0:
        raise InputError(f"{name} has radius {r}" ", expected one above zero")
    return f"{name}: {area(r):.1f} px" f" of {r!r}"
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
        ("above zero", "of zero or more"),
        ('f"{name} has radius {r}" ', ""),
        ('px" f" of {r!r}"', 'px of {r!r}"'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(old, new):
    assert old in CODE
    assert digest(CODE.replace(old, new)) == digest(CODE)


@pytest.mark.parametrize(
    "old, new",
    [
        ("**2", "**3"),
        ("area", "size"),
        ("import math", "import cmath as math"),
        ("(r)", "(r=1)"),
        ("r < 0", "r < 1"),
        ("raise InputError", "raise ValueError"),
        ("px", "mm"),
        (":.1f", ":.2f"),
        ("r!r", "r!s"),
    ],
)
def test_everything_else_counts(old, new):
    assert old in CODE
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_a_string_that_is_no_docstring_counts():
    assert digest("def f():\n    return 'a'\n") != digest("def f():\n    return 'b'\n")


# Other interpreters

DIGESTS = "import json, sys; from pathlib import Path; from lib.code import digests; sys.stdout.write(json.dumps("
DIGESTS += "digests(sys.argv[1:], Path.cwd())))"


def pythons() -> dict[str, str]:
    """Interpreters of other versions that this machine has, by version."""
    found = {}
    for minor in ("3.11", "3.12", "3.13", "3.14"):
        installed = sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python"))
        path = next((str(one) for one in reversed(installed)), shutil.which(f"python{minor}"))
        if path and minor != f"3.{sys.version_info.minor}":
            found[minor] = path
    return found


@cache
def digests_of(python: str, **environment: str) -> dict[str, str]:
    """Digests of all stages, methods and networks by an interpreter, which needs none of the project's packages."""
    models = [f"lib.models.{path.stem}" for path in (ROOT / "lib/models").glob("*.py")]
    command = [python, "-c", DIGESTS, *STAGES, *TASKS, *models]
    options = {"cwd": ROOT, "env": os.environ | environment, "capture_output": True, "text": True}
    return json.loads(subprocess.run(command, check=True, **options).stdout)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_digests_are_the_same_on_every_version_of_python(version):
    if version == f"3.{sys.version_info.minor}":
        pytest.skip("this Python")
    if version not in pythons():
        pytest.skip(f"no python{version} on PATH or in ~/.pyenv")
    found = digests_of(sys.executable)
    assert len(found) > 50
    assert digests_of(pythons()[version]) == found


def test_digests_do_not_depend_on_the_order_of_sets():
    first, second = (digests_of(sys.executable, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert list(first.items()) == list(second.items())
