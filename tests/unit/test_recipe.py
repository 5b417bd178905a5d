"""The recipe: what is written is what runs, and every mistake is told in one line with its place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mllmu_med.errors import UsageError
from mllmu_med.recipe import Recipe, find_recipe, load_recipe, make_method, make_source, shipped_recipes
from mllmu_med.recipe.arguments import check_arguments
from mllmu_med.recipe.overrides import apply_override
from mllmu_med.recipe.settings import PAPER_METHODS, RECOMMENDED, RESERVED_ROWS, WITH_LESS_RETAIN
from mllmu_med.recipe.yaml_text import parse_yaml


def problem(*overrides: str, **choices: Any) -> str:
    with pytest.raises(UsageError) as error:
        load_recipe("phantom", *overrides, **choices)
    message = str(error.value)
    assert "\n" not in message
    return message


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# ── finding and reading ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shipped_recipes_are_found_by_name_and_are_valid(tmp_path: Path) -> None:
    assert list(shipped_recipes()) == ["jsonl", "llava_med", "phantom", "qwen2_5_vl", "slake"]
    for name, path in shipped_recipes().items():
        overrides = [] if name == "phantom" else [f"source.path={tmp_path}"]
        recipe = load_recipe(name, *overrides)
        assert recipe.name == name == path.stem
        real = (WITH_LESS_RETAIN,) if name in ("llava_med", "qwen2_5_vl") else ()
        assert tuple(method.name for method in recipe.methods) == (*PAPER_METHODS, RECOMMENDED, *real)
        assert recipe.title


def test_the_real_checkpoints_train_adapters_in_the_language_model_only(tmp_path: Path) -> None:
    for name in ("llava_med", "qwen2_5_vl"):
        model = load_recipe(name, f"source.path={tmp_path}").model
        assert model.trainable.model_dump() == {"language": "lora", "projector": "frozen", "vision": "frozen"}
        assert (model.dtype, model.lora.dropout) == ("bfloat16", 0.0)


def test_a_file_is_preferred_and_an_unknown_name_proposes_one(tmp_path: Path) -> None:
    path = write(tmp_path, "source: {name: phantom, images: 20}\n")
    assert find_recipe(path) == path
    assert load_recipe(path).name == "mine"
    assert load_recipe(path).source.arguments == {"images": 20}
    with pytest.raises(UsageError, match=r"no recipe 'phantm' \(did you mean 'phantom'\?\)"):
        find_recipe("phantm")
    with pytest.raises(UsageError, match=r"no recipe 'elsewhere/slake\.yaml' \(did you mean 'slake'\?\)"):
        find_recipe("elsewhere/slake.yaml")


def test_a_wheel_carries_the_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an installed package they lie beside the code; there they are preferred to any folder further up."""
    from mllmu_med.recipe import loading

    package = tmp_path / "site" / "mllmu_med"
    (package / "recipe").mkdir(parents=True)
    shutil.copytree(find_recipe("phantom").parent, package / "recipes")
    monkeypatch.setattr(loading, "__file__", str(package / "recipe" / "loading.py"))
    assert shipped_recipes()["slake"] == package / "recipes" / "slake.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", "not valid YAML at line 2, column 1: key 'name' occurs twice"),
        ("model: {path: a, path: b}\n", "key 'path' occurs twice"),
        ("model:\n\tpath: a\n", "not valid YAML at line 2, column 1"),
        ("- a\n", "a recipe is a mapping"),
        ("", "a recipe is a mapping"),
        ("1: a\n", "a key must be text"),
        ("model: !!python/object/apply:os.system ['true']\n", "not valid YAML at line 1, column 8"),
    ],
)
def test_malformed_files_name_the_line(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        load_recipe(path)
    assert str(path) in str(error.value)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: é\n".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8 at byte 7"):
        load_recipe(path)


def test_a_fault_of_the_file_is_told_as_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, "modle: {path: embedded}\n")
    with pytest.raises(UsageError, match=rf"^{path}: modle: unknown key \(did you mean 'model'\?\)"):
        load_recipe(path, "seed=1")
    with pytest.raises(UsageError, match=r"^override: modle: unknown key"):
        load_recipe("phantom", "modle.path=x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"), ("no", "no"), ("yes", "yes"), ("1e-3", 1e-3), ("1.5E4", 15000.0), (".5", 0.5), ("-3", -3),
        ("true", True), ("null", None), ("", None), ("12:30", "12:30"), ("2024-01-31", "2024-01-31"), ("007", "007"),
        ("1_000", "1_000"), ("[ga, npo]", ["ga", "npo"]), ("{beta: 0.5}", {"beta": 0.5}), ("'1'", "1"),
    ],
)  # fmt: skip
def test_yaml_is_read_by_the_core_schema(text: str, value: object) -> None:
    parsed = parse_yaml(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


PRINTABLE = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]))
SCALARS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PRINTABLE | st.booleans() | st.none()
NAMES = st.text("abcdef", min_size=1)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8))
def test_json_is_yaml_and_comes_back(value: object) -> None:
    assert parse_yaml(json.dumps(value), "here") == value


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_phantom_recipe_forgets_fewer_patients_than_it_keeps() -> None:
    plan = load_recipe("phantom").benchmark
    assert plan["patients_forgotten"] < plan["patients_retained"]


def test_methods_inherit_from_unlearn_and_keep_what_they_set() -> None:
    recipe = load_recipe("phantom", "unlearn.steps=33", "methods=[ga,{name: npo, steps: 44, parameters: {beta: 0.5}}]")
    ga, npo = recipe.methods
    assert (ga.name, ga.row, ga.steps, ga.forget_batch) == ("ga", "ga", 33, recipe.unlearn.forget_batch)
    assert (npo.steps, npo.parameters, npo.learning_rate) == (44, {"beta": 0.5}, recipe.unlearn.learning_rate)


def test_a_recipe_comes_back_from_its_dictionary() -> None:
    recipe = load_recipe("phantom", "unlearn.steps=33", "methods.npo.steps=44", "model.lora.rank=4")
    text = json.dumps(recipe.to_dict())
    assert Recipe.model_validate(json.loads(text)) == recipe
    assert Recipe.model_validate(json.loads(text)).digest == recipe.digest


def test_the_digest_is_the_same_in_another_process_and_changes_with_any_value() -> None:
    code = "from mllmu_med.recipe import load_recipe; print(load_recipe('phantom').digest)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert output == load_recipe("phantom").digest
    changes = ("seed=1", "source.images=401", "benchmark.patients_holdout=3", "unlearn.span_weights=false")
    assert len({output, *(load_recipe("phantom", change).digest for change in changes)}) == 5


def test_the_same_method_twice_needs_two_rows() -> None:
    assert "'npo' occurs twice" in problem("methods=[npo,npo]")
    recipe = load_recipe("phantom", "methods=[npo,{name: npo, row: npo_half, parameters: {beta: 0.5}}]")
    assert [(method.name, method.row) for method in recipe.methods] == [("npo", "npo"), ("npo", "npo_half")]


@pytest.mark.parametrize("row", RESERVED_ROWS)
def test_a_row_cannot_take_the_name_of_a_reference(row: str) -> None:
    assert f"cannot be called '{row}'" in problem(f"methods=[{{name: npo, row: {row}}}]")


def test_names_cannot_leave_the_folder_of_runs() -> None:
    for name in ("../x", "a/b", ".hidden", ""):
        assert "override: name: " in problem(f"name='{name}'")
        assert "row" in problem(f"methods=[{{name: npo, row: '{name}'}}]")


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.trainble=1", "model.trainble: unknown key (did you mean 'trainable'?); known: path, trainable, lora"),
        ("sedd=1", "sedd: unknown key (did you mean 'seed'?)"),
        ("learn.orginal.steps=1", "learn.orginal: unknown key (did you mean 'original'?)"),
        ("learn.oracle.corected=true", "learn.oracle.corected: unknown key (did you mean 'corrected'?)"),
        ("methods.npo.stps=1", "methods.5.stps: unknown key (did you mean 'steps'?)"),
        ("methods=[noop]", "unknown method 'noop' (did you mean 'npo'?); known: adaptive_rmu,"),
        ("methods.np.steps=1", "no entry 'np' in the list (did you mean 'npo'?)"),
        ("methods.npo.parameters.bta=1", "npo.parameters.bta: method 'npo' has no such key (did you mean 'beta'?)"),
        ("methods.npo.parameters.beta=x", "methods.npo.parameters.beta: should be a valid number"),
        ("methods.npo.parameters.retain_weight=2", "write it as methods.npo.retain_weight"),
        ("source.name=phantm", "unknown source 'phantm' (did you mean 'phantom'?)"),
        ("source.imges=3", "source.imges: source 'phantom' has no such key (did you mean 'images'?)"),
        ("source.images=many", "source.images: should be a valid integer"),
        ("benchmark.patients_forgoten=3", "the benchmark has no such key (did you mean 'patients_forgotten'?)"),
        ("model.trainable.language=loro", "should be 'full', 'lora' or 'frozen', got 'loro' (did you mean 'lora'?)"),
        ("learn.base.steps=-1", "learn.base.steps: should be greater than or equal to 0, got -1"),
        ("unlearn.learning_rate=.nan", "unlearn.learning_rate: should be a finite number"),
        ("methods=ga", "methods must be a list, e.g. methods=[ga,npo]"),
        ("methods=[3]", "methods: 3 is neither a name nor a mapping"),
        ("methods=[{steps: 3}]", "methods.0.name: this key is missing"),
        ("seed.x=1", "'seed' is a value, it has nothing below it"),
        ("seed", "an override is written key.subkey=value"),
        ("=1", "an override is written key.subkey=value"),
        ("a..b=1", "an override is written key.subkey=value"),
        ("seed=[1", "'seed=[1': not valid YAML"),
        ("model.trainable={language: frozen}", "nothing is trained"),
        ("learn.base.steps=0", "learn.base.steps must be at least 1: the embedded model starts from nothing"),
        ("learn.original.steps=0", "original.steps must be at least 1"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key_and_what_was_meant(override: str, expected: str) -> None:
    assert expected in problem(override)


def test_embedded_sizes_without_the_embedded_model_are_refused() -> None:
    assert "only applies to path: embedded" in problem("model.path=elsewhere", "model.embedded.image_size=96")


def test_a_mistake_in_unlearn_is_told_once_and_not_per_method() -> None:
    message = problem("unlearn.steps=0")
    assert message == "override: unlearn.steps: should be greater than 0, got 0"


def test_several_mistakes_are_told_together_up_to_three() -> None:
    message = problem("seed=-1", "model.dtype=f", "learn.base.batch=0", "evaluate.batch=0")
    assert message.count("; ") == 3
    assert message.endswith("and 1 more")


def test_a_source_says_which_key_it_needs() -> None:
    with pytest.raises(UsageError, match=r"slake: source\.path is needed by source 'slake': add source\.path=…"):
        load_recipe("slake")


# ── overrides ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_overrides_set_values_make_blocks_and_change_list_entries() -> None:
    raw: dict[str, Any] = {"a": {"b": 1}, "methods": ["ga", {"name": "npo", "row": "mine", "steps": 1}], "empty": None}
    for override in ("a.b=2", "new.deep.key=[1,2]", "methods.ga.steps=5", "methods.mine.steps=6", "empty.x=1", "e=a=b"):
        apply_override(raw, override)
    assert raw == {
        "a": {"b": 2},
        "new": {"deep": {"key": [1, 2]}},
        "methods": [{"name": "ga", "steps": 5}, {"name": "npo", "row": "mine", "steps": 6}],
        "empty": {"x": 1},
        "e": "a=b",
    }
    apply_override(raw, "methods.1=idk")
    assert raw["methods"][1] == "idk"


def test_a_recipe_without_methods_runs_the_papers_and_can_be_overridden(tmp_path: Path) -> None:
    path = write(tmp_path, "source: {name: phantom}\n")
    assert tuple(method.name for method in load_recipe(path).methods) == PAPER_METHODS
    assert load_recipe(path, "methods.idk.steps=7").methods[3].steps == 7


def test_seed_limit_and_methods_are_arguments_too(tmp_path: Path) -> None:
    recipe = load_recipe("phantom", "methods.npo.steps=9", seed=4, limit=60, methods=["npo", "ga"])
    assert recipe.seed == 4
    assert recipe.source.arguments["images"] == 60
    assert [(method.name, method.steps) for method in recipe.methods] == [("npo", 9), ("ga", recipe.unlearn.steps)]
    with pytest.raises(UsageError, match="source 'jsonl' cannot be limited"):
        load_recipe("jsonl", f"source.path={tmp_path}", limit=30)
    slake = load_recipe("slake", f"source.path={tmp_path}", limit=30)
    assert slake.source.arguments["limit"] == 30


def test_a_loaded_recipe_can_be_changed_again() -> None:
    first = load_recipe("phantom", "learn.base.steps=5")
    second = load_recipe(first, "seed=2")
    assert (second.learn.base.steps, second.seed, first.seed) == (5, 2, 0)


# ── components ───────────────────────────────────────────────────────────────────────────────────────────────────────


def target(path: Path | str, languages: tuple[str, ...] = ("en",), limit: int | None = None, _hidden: int = 0) -> None:
    """Stands for a source's constructor."""


def test_arguments_become_what_the_signature_says(tmp_path: Path) -> None:
    given = {"path": str(tmp_path), "languages": ["en", "zh"], "limit": 3}
    assert check_arguments(target, given, block="source", what="x") == {
        "path": tmp_path, "languages": ("en", "zh"), "limit": 3,
    }  # fmt: skip
    assert check_arguments(target, {"path": "~/d", "languages": "zh"}, block="source", what="x") == {
        "path": Path.home() / "d", "languages": ("zh",),
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"source\.path is needed by x"):
        check_arguments(target, {}, block="source", what="x")
    with pytest.raises(UsageError, match=r"source\._hidden: x has no such key; known: path, languages, limit"):
        check_arguments(target, {"path": "a", "_hidden": 1}, block="source", what="x")


def test_the_source_gets_its_arguments_and_the_seed() -> None:
    source: Any = make_source(load_recipe("phantom", "source.images=7", seed=5))
    assert (source.name, source.images, source.seed) == ("phantom", 7, 5)
    fixed: Any = make_source(load_recipe("phantom", "source.seed=1", seed=5))
    assert fixed.seed == 1


def test_a_method_gets_its_parameters_and_the_retain_weight() -> None:
    recipe = load_recipe("phantom", "methods=[ga,{name: npo, parameters: {beta: 0.5}}]", "unlearn.retain_weight=3")
    ga, npo = (make_method(method) for method in recipe.methods)
    assert (npo.objective.beta, npo.objective.retain_weight) == (0.5, 3.0)  # type: ignore[union-attr]
    assert not hasattr(ga.objective, "retain_weight")  # type: ignore[union-attr]


def test_recipes_are_checked_without_loading_torch() -> None:
    code = (
        "import sys; from mllmu_med.recipe import load_recipe; load_recipe('phantom', 'methods.npo.steps=3'); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_every_key_is_described() -> None:
    schema = Recipe.model_json_schema()
    blocks = [schema, *schema["$defs"].values()]
    undescribed = [
        f"{block['title']}.{name}"
        for block in blocks
        for name, field in block.get("properties", {}).items()
        if not field.get("description")
    ]
    assert undescribed == []


def test_the_shipped_files_are_also_plain_yaml() -> None:
    for path in shipped_recipes().values():
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem
