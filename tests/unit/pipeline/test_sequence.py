"""Requests one after another: each starts from the model before it and sees nothing of the others' records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mllmu_med.benchmark.sample import Node, Sample, Stratum, Subset
from mllmu_med.errors import UsageError
from mllmu_med.folders import digest, read_json, read_manifest
from mllmu_med.models.groups import plain_name
from mllmu_med.models.store import load_trained
from mllmu_med.pipeline import plan_run, teaching, training
from mllmu_med.pipeline.keys import FORMAT, Keys
from mllmu_med.pipeline.requests import FORGET, check_requests, course_of, divide, steps_of
from mllmu_med.pipeline.sequence import RequestWorkshop, taken_directions, total_training
from mllmu_med.pipeline.workshop import Workshop
from tests.unit.pipeline.conftest import requested_recipe, tiny


def fact(number: int, group: str, **rest: Any) -> Sample:
    return Sample(
        f"w{number}", f"w{number}", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "Side?", "left", group=group,
        hierarchy=(Node("modality", "CT"), Node("instance", f"w{number}")), **rest,
    )  # fmt: skip


def patient(number: int, name: str, institution: str = "North") -> Sample:
    return Sample(
        f"p{number}", f"p{number}", Subset.FORGET_PRIVACY, Stratum.PRIVATE_IMAGE, "Who?", "Ann",
        group=f"image-{number}", patient_id=name, hierarchy=(Node("institution", institution), Node("patient", name)),
    )  # fmt: skip


SAMPLES = [
    *(patient(number, f"patient-{number // 2}", "North" if number < 4 else "South") for number in range(8)),
    fact(0, "image-20", rule_id="rule-1"), fact(1, "image-20"), fact(2, "image-21", rule_id="rule-1"),
    fact(3, "image-22"), fact(4, "image-23"), fact(5, "image-24", rule_id="rule-2"),
]  # fmt: skip
RETAINED = replace(SAMPLES[0], id="kept", subset=Subset.RETAIN, patient_id="patient-9")


def ids(requests: list[list[Sample]]) -> list[set[str]]:
    return [{sample.id for sample in request} for request in requests]


# --- who is in which request


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_forget_sample_is_in_exactly_one_request_and_no_patient_or_rule_is_split(count: int) -> None:
    requests = divide([RETAINED, *SAMPLES], count, seed=3)
    assert len(requests) == count
    assert all(requests)
    assert Counter(sample.id for request in requests for sample in request) == Counter(s.id for s in SAMPLES)
    for whole in ({"p0", "p1"}, {"p2", "p3"}, {"p4", "p5"}, {"p6", "p7"}, {"w0", "w1", "w2"}):
        assert sum(bool(whole & request) for request in ids(requests)) == 1
    people = [len({s.patient_id for s in request if s.patient_id}) for request in requests]
    assert max(people) - min(people) <= 1


def test_the_division_is_a_function_of_the_seed_alone() -> None:
    one = ids(divide(SAMPLES, 2, seed=0))
    assert ids(divide(SAMPLES[::-1], 2, seed=0)) == one
    assert any(ids(divide(SAMPLES, 2, seed=seed)) != one for seed in range(1, 6))


def test_more_requests_than_there_is_to_forget_are_refused() -> None:
    assert len(divide(SAMPLES, 8, seed=0)) == 8
    with pytest.raises(UsageError, match="9 requests, but only 8 patients and facts"):
        divide(SAMPLES, 9, seed=0)


def test_requests_by_name_keep_their_order_and_the_first_to_name_a_sample_has_it() -> None:
    named = (("patient=patient-3", "modality=CT"), ("institution=South",), ("institution=North",))
    found = ids(divide(SAMPLES, named, seed=0))
    assert found == [{"p6", "p7", *(f"w{n}" for n in range(6))}, {"p4", "p5"}, {"p0", "p1", "p2", "p3"}]


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (
            (("institution=North",), ("patient=patient-1",), ("institution=South", "modality=CT")),
            "request 2 names only",
        ),
        ((("institution=North",), ("patient=nobody",)), "'patient=nobody' names nothing here"),
        (
            (("institution=North",), ("modality=CT",)),
            "4 samples to be forgotten are in no request, .*patient=patient-2",
        ),
    ],
)
def test_requests_by_name_must_cover_everything_and_nothing_in_vain(named: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        divide(SAMPLES, named, seed=0)


def test_bad_requests_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    recipe = tiny("methods.npo.requests=40")
    with pytest.raises(UsageError, match=r"^methods\.npo\.requests: 40 requests, but only"):
        check_requests(recipe, SAMPLES)
    check_requests(tiny(), SAMPLES)


def test_a_recipe_takes_a_number_or_names_and_keeps_them() -> None:
    from mllmu_med.recipe import Recipe

    named = tiny("unlearn.requests=[[institution=North],[modality=CT, patient=patient-3]]", "methods.ga.requests=2")
    assert [method.requests for method in named.methods] == [
        2, (("institution=North",), ("modality=CT", "patient=patient-3")),
    ]  # fmt: skip
    assert Recipe.model_validate(named.to_dict()) == named
    assert tiny().unlearn.requests == 1


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("0", "must be a number from 1 on"), ("-2", "must be a number from 1 on"), ("true", "must be a number from"),
        ("[]", "or a list of lists of names"), ("[[]]", "or a list of lists of names"),
        ("[patient=A]", "or a list of lists of names"), ("[[North]]", "is written level=name"),
        ("[[hospital=North]]", "unknown level 'hospital'"),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_read_are_refused(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tiny(f"unlearn.requests={value}")


# --- stages and keys


def test_every_request_is_a_stage_that_needs_the_one_before(tmp_path: Path) -> None:
    from mllmu_med.pipeline.stages import all_stages

    stages = {stage.name: stage for stage in all_stages(tiny("methods.npo.requests=3"), tmp_path)}
    assert [stages[name].needs for name in ("npo@1", "npo@2", "npo")] == [
        ("benchmark", "theta0"), ("benchmark", "npo@1"), ("benchmark", "npo@2"),
    ]  # fmt: skip
    assert {"evaluate npo@1", "evaluate npo@2", "evaluate npo"} <= set(stages["results"].needs)
    assert "npo@1" not in {step.name for step in steps_of(tiny().methods[0])}
    assert course_of(tiny().methods[0]) == []


def test_one_request_changes_no_key_and_each_of_several_depends_on_those_before(tmp_path: Path) -> None:
    """The key as it was before there were requests: runs that are done stay done."""
    from mllmu_med import __version__

    recipe = tiny()
    keys, npo = Keys(recipe), recipe.methods[1]
    as_ever = digest(
        {
            "stage": "method", "format": FORMAT, "package": __version__, "seed": 0, "parent": keys.learnt("original"),
            "method": npo.model_dump(mode="json", exclude={"row"}),
        }
    )  # fmt: skip
    assert keys.method(npo) == keys.method(npo, 1) == as_ever
    several = tiny("methods.npo.requests=2")
    later = Keys(several)
    first, second = (later.method(several.methods[1], number) for number in (1, 2))
    assert len({as_ever, first, second}) == 3
    assert later.method(several.methods[1]) == second
    assert Keys(tiny("unlearn.requests=2")).truncated_retrain() == keys.truncated_retrain()


def test_a_finished_run_is_done(requested: Path) -> None:
    assert {stage.status for stage in plan_run(requested_recipe(), requested)} == {"done"}
    assert not list(requested.rglob(".*"))


# --- what a request is given


def test_a_request_sees_no_other_requests_records(requested: Path) -> None:
    recipe = requested_recipe()
    whole, settings = Workshop(recipe, requested), recipe.methods[1]
    forget = {sample.id for sample in whole.subset(*FORGET)}
    seen: set[str] = set()
    for step in steps_of(settings):
        workshop = RequestWorkshop(whole, settings, step)
        own = {sample.id for sample in workshop.subset(*FORGET)}
        assert own
        assert not own & seen
        seen |= own
        assert {sample.id for sample in workshop.samples} & forget == own
        assert {sample.id for sample in workshop.subset(Subset.RETAIN)} == {s.id for s in whole.subset(Subset.RETAIN)}
        assert workshop.gone == seen
    assert seen == forget
    seeds = {RequestWorkshop(whole, settings, step).adapter_seed for step in steps_of(settings)}
    assert len(seeds) == 3
    assert recipe.seed in seeds


def test_unlearning_starts_from_the_model_before_and_forgets_the_requests_own(
    requested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def unlearn(vlm: Any, method: Any, forget: Any, retain: Any, loop: Any, settings: Any, **rest: Any) -> Any:
        seen.update(forget=forget, retain=retain, weights=plain_weights(vlm.model), **rest)
        raise StopIteration

    monkeypatch.setattr(training, "unlearn", unlearn)
    recipe = requested_recipe()
    whole, settings = Workshop(recipe, requested), recipe.methods[0]
    before = {name: plain_weights(load_trained(requested / "models" / name).model) for name in ("theta0", "npo@1")}
    for step, start in zip(steps_of(settings), ("theta0", "npo@1"), strict=True):
        workshop = RequestWorkshop(whole, settings, step)
        with pytest.raises(StopIteration):
            training.make_method_model(workshop, settings, "key", tmp_path / "out")
        assert seen["weights"].keys() == before[start].keys()
        assert all(torch.equal(value, before[start][name]) for name, value in seen["weights"].items())
        own = {sample.id for sample in workshop.requests[step.number - 1]}
        assert {sample.id for sample in seen["forget"]} == own
        assert {sample.id for sample in seen["earlier"]} == workshop.gone - own
        assert len(seen["earlier"]) == (0 if start == "theta0" else len(workshop.requests[0]))
        assert all(sample.subset is Subset.RETAIN for sample in seen["retain"])
        assert seen["title"] == f"unlearn: {step.name}"
    assert any(not torch.equal(value, before["npo@1"][name]) for name, value in before["theta0"].items())


def test_the_approximate_oracles_made_up_patients_know_earlier_requests(
    requested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no patient may be used it learns the format from made-up ones: with no value that is gone already."""
    told: list[list[Sample]] = []

    def made(*given: Any, earlier: Sequence[Sample]) -> Any:
        told.append(list(earlier))
        raise StopIteration

    monkeypatch.setattr(teaching, "made_up_beside", made)
    recipe = requested_recipe()
    whole, settings = Workshop(recipe, requested), recipe.methods[0].model_copy(update={"retain_share": 0.0})
    for step in steps_of(settings):
        workshop = RequestWorkshop(whole, settings, step)
        with pytest.raises(StopIteration):
            teaching.train_teacher(
                None,
                workshop,
                settings,
                training.feeding_of(settings),
                workshop.subset(*FORGET),
                None,  # type: ignore[arg-type]
            )
        assert told[-1] == workshop.earlier
    assert [bool(earlier) for earlier in told] == [False, True]


def plain_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights below an adapter, by the names they have without one."""
    return {plain_name(n): p.detach().clone() for n, p in model.named_parameters() if ".lora_" not in n}


def test_the_adapters_stand_on_one_another(requested: Path) -> None:
    parents = {name: read_json(requested / "models" / name / "parent.json")["parent"] for name in ("npo@1", "npo")}
    assert parents == {"npo@1": "theta0", "npo": "npo@1"}


# --- o3


def factors(folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(folder / "adapter" / "adapter_model.safetensors")
    return {name: value.double() for name, value in tensors.items() if ".lora_A." in name}


def largest_cosine(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Of the rows of two adapters' A factors, over all layers."""
    unit = torch.nn.functional.normalize
    return max(float((unit(left[name]) @ unit(right[name]).T).abs().max()) for name in left)


def test_o3_adapters_of_three_requests_read_orthogonal_directions_and_others_do_not(requested: Path) -> None:
    models = requested / "models"
    first, second, third = (factors(models / name) for name in ("o3@1", "o3@2", "o3"))
    assert largest_cosine(first, second) < 1e-6
    assert largest_cosine(first, third) < 1e-6
    assert largest_cosine(second, third) < 1e-6
    assert all(value.norm() > 0.1 for value in third.values()), "what is left of an adapter is not nothing"
    assert largest_cosine(factors(models / "npo@1"), factors(models / "npo")) > 0.1


def test_taken_directions_span_every_earlier_adapter_and_carry_the_parameters_names(requested: Path) -> None:
    folders = [requested / "models" / name for name in ("o3@1", "o3@2")]
    taken = taken_directions(folders)
    assert len(taken) == len(factors(folders[0]))
    for name, rows in taken.items():
        assert name.startswith("base_model.model.")
        assert name.endswith(".lora_A.default.weight")
        assert rows.shape[0] == 4, "two adapters of rank 2"
        for folder in folders:
            own = factors(folder)[name.replace(".default", "")]
            assert torch.allclose(own @ rows.double().T @ rows.double(), own, atol=1e-6)
    assert taken_directions([]) == {}


def test_a_fresh_adapter_is_brought_off_the_taken_directions(llava: Any) -> None:
    from mllmu_med.methods.addons.orthogonal import orthonormal_rows
    from mllmu_med.models.groups import Lora, set_trainable

    set_trainable(llava, {"language": "lora"}, Lora(rank=2, alpha=4))
    name, factor = next((n, p) for n, p in llava.model.named_parameters() if ".lora_A." in n)
    other = {n: p.detach().clone() for n, p in llava.model.named_parameters() if n != name}
    rows = orthonormal_rows([factor.detach()[:1]])
    training.keep_off(llava, {name: rows})
    after = dict(llava.model.named_parameters())
    assert (after[name] @ rows.T).abs().max() < 1e-6
    assert after[name][1].norm() > 0
    assert all(torch.equal(after[n], value) for n, value in other.items())


# --- results


def test_results_hold_the_course_of_every_row_with_requests(requested: Path) -> None:
    results = read_json(requested / "results" / "results.json")
    rows = {row["name"]: row for row in results["rows"]}
    assert not any("@" in name for name in rows)
    courses = {
        name: [step["model"] for step in row["sequence"]["steps"]] for name, row in rows.items() if "sequence" in row
    }
    assert courses == {
        "npo": ["theta0", "npo@1", "npo"],
        "o3": ["theta0", "o3@1", "o3@2", "o3"],
        "retrain": ["theta0", "retrain@1", "retrain"],
        "shards": ["shards@0", "shards@1", "shards"],
        "dropped": ["dropped@0", "dropped"],
    }  # fmt: skip
    course = rows["npo"]["sequence"]
    assert [step["cost"]["records"] for step in course["steps"][1:]] == [32, 32]
    assert sum(request["patients"] for request in course["requests"]) == 2
    assert (rows["npo"]["cost"]["steps"], rows["npo"]["cost"]["records"]) == (4, 64)
    assert [entry["step"] for entry in rows["npo"]["curves"]] == [2, 4]
    assert {"npo@1", "evaluate npo@1", "shards@common", "shards@shard-1"} <= set(results["provenance"]["seconds"])
    assert '<section id="requests"' in (requested / "report" / "index.html").read_text(encoding="utf-8")


def test_costs_add_up_and_curves_go_on(requested: Path) -> None:
    manifests = [read_manifest(requested / "models" / name) for name in ("o3@1", "o3@2", "o3")]
    total = total_training(manifests)
    assert total["steps"] == 6
    assert total["records"] == sum(manifest["training"]["records"] for manifest in manifests)
    assert total["flops"] == sum(manifest["training"]["flops"] for manifest in manifests) > 0
    uncounted = {"training": {**manifests[0]["training"], "flops": None}}
    assert total_training([uncounted, manifests[1]])["flops"] == manifests[1]["training"]["flops"]
    assert total_training([uncounted])["flops"] is None
    assert [entry["step"] for entry in total["curve"]] == [2, 4, 6]
    assert [entry["step"] for entry in manifests[1]["training"]["curve"]] == [2], "the stage's own is as it was"
    assert total_training(manifests[:1])["curve"] == manifests[0]["training"]["curve"]
