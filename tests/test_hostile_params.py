"""Whatever is in params.yaml: a moment, then the settings, or one line that names the file, the key and the remedy."""

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lib.errors import InputError
from lib.params import load_params, parsing
from lib.params.data import OfficialFile
from lib.params.limits import check_official
from lib.params.parsing import parse

TEXT = Path("params.yaml").read_text(encoding="utf-8")
CONTENT = YAML(typ="safe").load(TEXT)
SECONDS = 5  # for a file, on a slow machine


def refused(path: Path, content: bytes | str, load=parse) -> str:
    """The one line with which a file is refused, soon."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        load(path)
    assert time.perf_counter() - start < SECONDS
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < len(str(path)) + 700, message
    assert "tuple" not in message and "Traceback" not in message
    return message


def laughs(levels: int, times: int) -> str:
    lines = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * times)}]" for level in range(1, levels)]
    return "\n".join(["a0: &a0 [x]", *lines])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1".encode("utf-16"), r"line 1: not UTF-8"),
        ("a: 1".encode("utf-32"), r"line 1: not UTF-8"),
        ("a: 1".encode("utf-16-le"), r"line 1: the character '\\x00' is no text"),
        (b"a: 1\nb: \xe4", r"line 2: not UTF-8; save the file in that encoding"),
        (b"a: 1\nb: \0", r"line 2: the character '\\x00' is no text"),
        ("a: [\x07]", r"line 1: the character '\\x07' is no text"),
        ("a: 2024-01-01", r"a is a date; expected text, a number"),
        ("a: 2024-13-45", r"not YAML: month must be in 1..12"),
        ("2024-01-01: a", r"the file has the key 2024-01-01, no text; expected a name"),
        ("a: {1: b}", r": a has the key 1, no text"),
        ("a: {null: b}", r": a has the key None, no text"),
        ("a: {true: b}", r": a has the key True, no text"),
        ("? [1, 2]\n: a", r"has the key \(1, 2\), no text"),
        ("? {a: 1}\n: a", r"line 1: not YAML: found unhashable key"),
        ("a: &a [*a]", r"line 1: \*a is within &a itself"),
        ("a: &a {b: *a}", r"line 1: \*a is within &a itself"),
        ("a: *b", r"line 1: not YAML: found undefined alias"),
        (laughs(25, 2), r"more than 100,000 values, aliases counted"),
        (laughs(400, 2), r"more than 100,000 values, aliases counted"),
        (laughs(9, 10), r"more than 100,000 values, aliases counted"),
        ("".join(f"- &a{n} x\n" for n in range(9000)), r"more than .* or 1,000 anchors"),
        ("a: " + "[" * 3_000 + "]" * 3_000, r"line 1: more than 50 levels"),
        ("[" * 100_000, r"line 1: more than 50 levels"),
        ("- " * 100_000, r"line 1: more than 50 levels"),
        ("".join(" " * n + "a:\n" for n in range(1_000)), r"line 51: more than 50 levels"),
        ("a: .inf", r": a is inf; expected a finite number"),
        ("a: [1, -.inf]", r": a\.1 is -inf; expected a finite number"),
        ("a: .nan", r": a is nan; expected a finite number"),
        ("a: 1e400", r": a is inf; expected a finite number"),
        ("a: " + "9" * 400, r": a is a number of 1329 bits; expected 9,223,372,036,854,775,807 at most"),
        ("a: " + "9" * 5_000, r"not YAML: Exceeds the limit"),
        ("a: 0x" + "f" * 100_000, r": a is a number of 400000 bits"),
        ("a: !!binary aGk=", r": a is a text of bytes; expected text"),
        ("a: !!set {x}", r": a is a set; expected text"),
        ("a: !!python/object/apply:os.system [ls]", r"not YAML: could not determine a constructor"),
        ("a: 1\n---\nb: 2", r"line 2: not YAML: .*another document"),
        ("a: 1\na: 2", r"line 2: not YAML: found duplicate key"),
        ("a:\t- b", r"line 1: not YAML"),
        ("a: " + "x" * 20_000, r": a is a text of 20,000 characters; expected 10,000 at most"),
        ("#" * 2_000_000, r"has more than 1,048,576 bytes"),
    ],
)
def test_what_is_no_plain_yaml(tmp_path, content, message):
    found = refused(tmp_path / "params.yaml", content)
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1e-3\nb: 1_000\nc: 0o7\nd: yes", {"a": 0.001, "b": 1000, "c": 7, "d": "yes"}),
        ("a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}", {"a": {"x": 1}, "b": {"x": 1, "y": [{"x": 1}, {"x": 1}]}}),
        ("a: ä ☺", {"a": "ä ☺"}),
        ("", None),
    ],
)
def test_plain_yaml(tmp_path, text, content):
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert parse(tmp_path / "params.yaml") == content


def test_bounds_are_far_from_the_real_file():
    parse(Path("params.yaml"))
    assert len(TEXT) * 10 < parsing.BYTES
    assert str(CONTENT).count(",") * 10 < parsing.VALUES


def test_a_folder_and_no_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml not found: run in the repository's root"):
        parse(tmp_path / "none.yaml")


def places(content: Any, keys: tuple = ()) -> list[tuple]:
    """The keys of every value of the file."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in inside for place in ((*keys, key), *places(value, (*keys, key)))]


PLACES = places(CONTENT)


def changed(place: tuple, value: object) -> dict:
    """The file's content with another value at a place; ...: without it."""
    content = json.loads(json.dumps(CONTENT))
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return content


def dumped(content: object) -> str:
    """JSON, which is YAML: infinities and what is no text are written as YAML has them."""
    return re.sub(
        r"(?<![\w\"])(-?)(Infinity|NaN)\b",
        lambda m: m[1] + {"Infinity": ".inf", "NaN": ".nan"}[m[2]],
        json.dumps(content),
    )


def where(last: str, kind: type | tuple = (int, float)) -> list[tuple]:
    found = [p for p in PLACES if p[-1] == last and isinstance(value_at(p), kind) and not isinstance(value_at(p), bool)]
    assert found, last
    return found


def value_at(place: tuple) -> object:
    value = CONTENT
    for key in place:
        value = value[key]
    return value


INFINITE = [place for place in PLACES if type(value_at(place)) in (int, float)]
MEANINGLESS = {
    "infinities": [
        (place, number) for place in INFINITE[::7] for number in (float("inf"), float("-inf"), float("nan"))
    ],
    "numbers of 10^400": [(place, 10**400) for place in INFINITE[::9]],
    "numbers below 0": [(place, -1) for place in INFINITE[::5]],
    "rates": [(place, rate) for place in where("lr") for rate in (1e308, 1e6, 0, -1e-3)],
    "gamma": [(place, gamma) for place in where("gamma") for gamma in (10, 1.5, 0)],
    "stacks": [(place, count) for place in where("stacks") for count in (2**63, 2**62, 10_000, 0)],
    "channels": [(place, 2**40) for place in where("channels")],
    "px": [(place, [side, 64]) for place in where("input", list) for side in (65_536, 0, 64.5, 2**63)],
    "batches": [(place, size) for place in where("batch_size") for size in (10**400, 10**9, 0, 2.5)],
    "seeds": [(("seeds",), seeds) for seeds in ([2**64], [2**63], [-1], [0, 0], [], [1.5], 0, None, ["0"])],
    "milestones": [
        (place, steps) for place in where("milestones", list) for steps in ([90, 90], [120, 90], [10**6], [0], [5_000])
    ],
    "sources": [
        (("data", name, "source"), word) for name in CONTENT["data"] for word in ("sythetic", "offical", "", 5)
    ],
    "profiles": [(("profile",), name) for name in ("smal", "", None, "Paper", 5)],
}
CASES = [(kind, *case) for kind, cases in MEANINGLESS.items() for case in cases]


def test_nothing_meaningless_is_accepted(tmp_path):
    draw = random.Random(0)
    for kind, place, value in draw.sample(CASES, 80) + [
        next(case for case in CASES if case[0] == kind) for kind in MEANINGLESS
    ]:
        message = refused(tmp_path / "params.yaml", dumped(changed(place, value)), load_params)
        assert any(str(key) in message for key in place[-2:]) or kind == "milestones", (kind, place, value, message)


def test_a_misspelt_source_has_a_suggestion_and_a_path_is_named_from_the_root(tmp_path, monkeypatch):
    message = refused(tmp_path / "params.yaml", dumped(changed(("data", "lsp", "source"), "sythetic")), load_params)
    assert (
        "data.lsp.source is 'sythetic' (did you mean synthetic?); expected synthetic, official or a folder" in message
    )
    assert f"there is no {Path('sythetic').absolute()}" in message
    for place in ("/some/folder", "~/data", "./lsp", str(tmp_path)):
        (tmp_path / "params.yaml").write_text(dumped(changed(("data", "lsp", "source"), place)))
        load_params(tmp_path / "params.yaml")


def test_odd_teachers_are_warned_of(tmp_path, capsys):
    load_params()
    assert capsys.readouterr().err == ""
    teacher, student = (CONTENT["fpd"]["alone"][f"lsp_{role}"]["model"] for role in ("teacher", "student"))
    (tmp_path / "params.yaml").write_text(dumped(changed(("fpd", "alone", "lsp_teacher", "model"), student)))
    load_params(tmp_path / "params.yaml")
    assert "lsp_fpd.teacher is fpd/lsp_teacher, the same network with the same input" in capsys.readouterr().err
    less = CONTENT["models"][teacher] | {"stacks": 1, "channels": 64}
    (tmp_path / "params.yaml").write_text(dumped(changed(("models", teacher), less)))
    load_params(tmp_path / "params.yaml")
    assert "lsp_fpd.teacher is fpd/lsp_teacher, a smaller network than its student" in capsys.readouterr().err


ODD = [
    *(None, True, "", "x", "ä" * 300, 0, -1, 1, 2.5, 1e308, float("inf"), float("nan"), 10**30, 2**63, 10**400),
    *([], [[]], [None], ["tua"], [64], [1, "a"], {}, {"a": 1}, {"name": "hourglas"}, {"": 0}, ..., "null", "~", "1e3"),
]


@pytest.mark.parametrize("seed", range(10))
def test_mutations(tmp_path, seed):
    """Fifty each: a value replaced, taken out or moved, a key misspelt, or the text damaged."""
    draw, path, accepted = random.Random(seed), tmp_path / "params.yaml", 0
    for _ in range(50):
        kind, place = draw.choice(("value", "value", "value", "key", "swap", "text")), draw.choice(PLACES)
        if kind == "value":
            text = dumped(changed(place, draw.choice(ODD)))
        elif kind == "key":
            key = str(place[-1])
            at = draw.randrange(len(key))
            misspelt = key[:at] + draw.choice(("", key[at] * 2, "_", "é", " ")) + key[at + 1 :]
            content = changed(place, ...)
            holder = content
            for one in place[:-1]:
                holder = holder[one]
            if isinstance(holder, dict):
                holder[misspelt] = value_at(place)
            text = dumped(content)
        elif kind == "swap":
            text = dumped(changed(place, value_at(draw.choice(PLACES))))
        else:
            at, length = draw.randrange(len(TEXT)), draw.randrange(30)
            piece = draw.choice(
                (
                    "",
                    "\t",
                    "&a ",
                    "*a ",
                    "\0",
                    "- ",
                    ": ",
                    "{",
                    "]",
                    "!!set ",
                    "? ",
                    "'",
                    "|\n",
                    "%",
                    "\ufeff",
                    "2024-01-01",
                )
            )
            text = TEXT[:at] + piece + TEXT[at + length :]
        path.write_text(text, encoding="utf-8")
        start = time.perf_counter()
        try:
            load_params(path)
            accepted += 1
        except InputError as error:
            message = str(error)
            assert str(path) in message and "\n" not in message and "tuple" not in message, message
            assert len(message) < len(str(path)) + 1500, message
        assert time.perf_counter() - start < SECONDS
    assert accepted < 40  # most are wrong


def official(**changes: object) -> list[OfficialFile]:
    entry = {"file": "a.zip", "folder": "lsp", "urls": ("https://a.org/a.zip",), "sha256": None}
    return [OfficialFile(**entry | {"file": "b.zip"}), OfficialFile(**entry | changes)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({"file": file}, r"lsp\.1\.file is .*; expected the name of a file in data/downloads")
            for file in ("", "../a.zip", "/a.zip", "b/a.zip", "..", ".", "a\0")
        ],
        *[
            ({"folder": folder}, r"lsp\.1\.folder is .*; expected a folder of data/raw")
            for folder in ("", "..", "/etc", "a/../../b", "../a")
        ],
        *[
            ({"urls": (url,)}, r"lsp\.1\.urls has .*; expected an address")
            for url in ("", "ftp://a.org/a.zip", "a.zip", " https://a.org", "file:///a")
        ],
        ({"urls": ("https://a.org/a.zip",) * 2}, r"lsp\.1\.urls names an address twice"),
        ({"file": "b.zip"}, r"lsp\.1\.file is 'b\.zip', as of another entry"),
    ],
)
def test_official_files_stay_in_their_folders(changes, message):
    check_official(official(), "lsp")
    check_official(official(folder=".", urls=()), "lsp")
    with pytest.raises(InputError, match=message):
        check_official(official(**changes), "lsp")
