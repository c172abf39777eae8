"""What was trained, in the words that reports have for it."""

from lib.reporting.names import AS_PRINTED, network, run_names, setting


def test_names_of_runs_show_what_was_trained():
    def spec(stacks: int, channels: int, settings: dict | None) -> dict:
        model = {"stacks": stacks, "channels": channels, "stem": "any"}
        return {"model": model, "input": [64, 64], "settings": settings or {}}

    full = {run: spec(4, 256, {"alpha": 0.5}) for run in "abc"}
    specs = {"a": spec(1, 32, None), "b": spec(1, 32, {"alpha": 0.05}), "c": spec(4, 256, {"alpha": 0.5})}
    names = run_names("abc", specs, full, {"α": "settings.alpha"})
    assert names == {"a": ("1 × 32", "`a`"), "b": ("1 × 32", "`b` (α 0.05)"), "c": (AS_PRINTED, "`c` (α 0.5)")}
    assert run_names("ca", specs, full, {}) == {"c": (AS_PRINTED, "`c`"), "a": ("1 × 32", "`a`")}
    assert run_names(["a", "not trained"], specs, full, {}) == {"a": ("1 × 32", "`a`")}


def test_names_of_runs_show_the_branches_that_were_trained():
    def spec(shared: int, *stacks: int) -> dict:
        first, *others = ({"name": "hourglass", "stacks": count, "channels": 32} for count in stacks)
        return {"model": first, "input": [64, 64], "settings": {"shared": shared, "branches": others}}

    full = dict.fromkeys("abcd", spec(2, 4, 6, 8))
    specs = {"a": spec(0, 1, 1, 1), "b": spec(1, 4, 6, 8), "c": spec(2, 4, 6, 8), "d": spec(2, 4, 6, 6)}
    assert run_names("abcd", specs, full, {}) == {
        "a": ("1 × 32, 3 branches of 1 stack, 0 shared", "`a`"),
        "b": ("4 × 32, 3 branches of 4, 6, 8 stacks, 1 shared", "`b`"),
        "c": (AS_PRINTED, "`c`"),
        "d": ("4 × 32, 3 branches of 4, 6, 6 stacks, 2 shared", "`d`"),
    }


def test_networks_without_stacks_are_named_by_their_encoder():
    def spec(channels: int, *branches: int) -> dict:
        first, *others = ({"encoder": "resnet18", "channels": width} for width in (channels, *branches))
        settings = {"shared": 0, "branches": others} if others else None
        return {"model": first, "input": [64, 64], "settings": settings or {}}

    specs = {"a": spec(32), "b": spec(32, 32, 32), "c": spec(256, 256)}
    full = {"a": spec(256), "b": spec(256, 256, 256), "c": spec(256, 256)}
    names = {"a": "resnet18 × 32", "b": "resnet18 × 32, 3 branches", "c": AS_PRINTED}
    assert {run: trained for run, (trained, _) in run_names("abc", specs, full, {}).items()} == names


def test_names_of_runs_show_an_input_that_is_not_the_papers():
    model = {"stacks": 1, "channels": 8}
    full = {run: {"model": model, "input": [256, 192], "settings": {}} for run in "ab"}
    specs = {"a": full["a"] | {"input": [128, 64]}, "b": full["b"]}
    assert run_names("ab", specs, full, {}) == {"a": ("128 × 64 px", "`a`"), "b": (AS_PRINTED, "`b`")}
    smaller = {"a": specs["a"] | {"model": {"stacks": 1, "channels": 4}}}
    assert run_names("a", smaller, full, {}) == {"a": ("1 × 4, 128 × 64 px", "`a`")}


def test_names_of_networks():
    hrnet = {"name": "hrnet", "width": 32, "blocks": 4, "modules": [1, 4, 3], "stem": 64, "head": "simcc", "split": 2.0}
    assert network(hrnet) == "HRNet-W32"
    assert network(hrnet | {"width": 48, "split": 3.0}) == "HRNet-W48, split 3"
    small = {"width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8, "split": 0.5}
    assert network(hrnet | small) == "HRNet-W4, blocks 1, modules [1, 1, 1], stem 8, split 0.5"
    resnet = {"name": "simplebaseline", "blocks": [3, 4, 6, 3], "width": 64, "channels": 256, "head": "heatmap"}
    assert network(resnet) == "ResNet-50"
    assert network(resnet | {"blocks": [3, 8, 36, 3]}) == "ResNet-152"
    assert network(resnet | {"blocks": [1, 1, 1, 1], "width": 8, "channels": 32}) == "ResNet-14, width 8, channels 32"


def test_depth_of_a_resnet_follows_its_blocks():
    resnet = {"name": "resnet", "block": "basic", "blocks": [2, 2, 2, 2], "width": 64}
    assert network(resnet) == "ResNet-18"
    assert network(resnet | {"block": "bottleneck", "blocks": [3, 4, 6, 3]}) == "ResNet-50"
    assert network(resnet | {"blocks": [1, 1, 1, 1], "width": 8}) == "ResNet-10, width 8"


def test_settings_are_shown_as_params_yaml_has_them():
    spec = {"a": {"b": [3, 5], "c": ["tau"], "d": [], "e": True, "f": None, "g": 1e-4, "h": "cca"}}
    shown = [setting(spec, f"a.{key}") for key in "bcdefgh"]
    assert shown == ["[3, 5]", "[tau]", "[]", "true", "null", "0.0001", "cca"]
