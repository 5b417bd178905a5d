from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.errors import DataError, UsageError
from mllmu_med.evaluation import rows as rows_module
from mllmu_med.evaluation.behaviour import refuse_all_outputs
from mllmu_med.evaluation.outputs import Output
from mllmu_med.evaluation.rows import finite, score_rows
from mllmu_med.folders import canonical_json
from tests.unit.evaluation.conftest import build_world

Policy = Callable[..., str]

SECRET = "Lopez"


def outputs_of(world):
    return {
        "forgets_neighbours": world.outputs(world.forgets_neighbours),
        "collapse": world.outputs(world.collapsed),
        "hides": world.outputs(world.hides),
        "oracle": world.outputs(world.oracle),
        "theta0": world.outputs(world.original),
    }


@pytest.fixture(scope="module")
def rows(world):
    scored = score_rows(world.samples, outputs_of(world), {}, seed=0, bootstrap=300)
    return {row["name"]: row for row in scored}


def test_the_table_begins_with_the_reference_rows(rows) -> None:
    assert list(rows) == ["theta0", "oracle", "refuse_all", "collapse", "forgets_neighbours", "hides"]
    assert [row["role"] for row in rows.values()] == [
        "reference", "reference", "control", "control", "method", "method",
    ]  # fmt: skip


@pytest.mark.parametrize("scenario", ["privacy", "incorrectness"])
@pytest.mark.parametrize(("name", "value"), [("theta0", 0.0), ("oracle", 1.0), ("refuse_all", 0.0), ("collapse", 0.0)])
def test_identities(rows, scenario: str, name: str, value: float) -> None:
    ues = rows[name]["ues"][scenario]
    assert (ues["value"], ues["low"], ues["high"]) == (value, value, value)


def test_levels_of_the_verdicts(rows) -> None:
    assert {name: row["verdict"]["level"] for name, row in rows.items()} == {
        "theta0": "reference", "oracle": "reference", "refuse_all": "failure", "collapse": "failure",
        "forgets_neighbours": "failure", "hides": "partial",
    }  # fmt: skip
    assert rows["forgets_neighbours"]["verdict"]["text"] == (
        "Forgets 100 % of the private values and 100 % of the wrong facts but also loses 100 % of the retained "
        "patients' values."
    )


def test_lost_patients_are_a_part_of_their_own(rows) -> None:
    row = rows["forgets_neighbours"]
    privacy, facts = row["ues"]["privacy"], row["ues"]["incorrectness"]
    assert privacy["parts"] == {"forget": 1.0, "retain": 1.0, "patients": 0.0, "test": 1.0, "clinical": 1.0}
    assert facts["parts"] == {
        "forget": 1.0, "suppression": 1.0, "restoration": 1.0, "retain": 1.0, "patients": 0.0, "test": 1.0,
    }  # fmt: skip
    assert (privacy["value"], privacy["high"], facts["value"]) == (0.0, 0.0, 0.0)
    assert (privacy["raw"]["retain"], privacy["raw"]["patients"]) == (1.0, 0.0)
    assert row["metrics"]["retain"]["private_image"]["utility"] == 0.0
    assert row["metrics"]["retain"]["all"]["utility"] == 0.6  # a figure of the tables: 3 of 5 strata are whole


def test_a_benchmark_without_retained_patients_says_so(world) -> None:
    samples = [sample for sample in world.samples if not (sample.subset == Subset.RETAIN and sample.patient_id)]
    used = {sample.id for sample in samples}
    given = {
        name: [one for one in world.outputs(policy) if one.sample_id in used]
        for name, policy in {"theta0": world.original, "oracle": world.oracle, "m": world.oracle}.items()
    }
    row = score_rows(samples, given, {}, seed=0, bootstrap=20)[-1]
    for ues in row["ues"].values():
        assert (ues["value"], ues["low"], ues["parts"]["patients"]) == (1.0, 1.0, None)
        assert ues["reason"] == "patients left out: nothing to score"
    assert "patients" not in row["verdict"]["text"]


def test_hiding_is_told_from_forgetting_by_the_robust_score(rows) -> None:
    ues = rows["hides"]["ues"]["privacy"]
    assert (ues["value"], ues["robust"], ues["robust_probe"]) == (1.0, 0.0, "paraphrase-1")
    assert rows["oracle"]["ues"]["privacy"]["robust"] == 1.0
    assert rows["hides"]["by_probe"]["paraphrase-1"] == {"span_recall": 1.0, "wrong_agreement": 1.0}


def test_a_lead_that_chance_gives_does_not_count(world) -> None:
    """Asked otherwise, both θ0 and the oracle guess some wrong facts: a lead of one in eight, and no memory."""

    def guesses(lucky: tuple[str, ...], held: Policy) -> Policy:
        def says(sample: Sample, probe: str = "original") -> str:
            if sample.wrong_answer is None or sample.subset == Subset.TEST or probe == "original":
                return held(sample, probe)
            return str(sample.wrong_answer) if sample.id in lucky else "no idea"

        return says

    theta0 = guesses(("wrong_image-00", "wrong_image-01", "wrong_image-02", "wrong_text-00"), world.original)
    oracle = guesses(("wrong_image-03", "wrong_text-01"), world.oracle)
    model = guesses(("wrong_image-00", "wrong_image-01", "wrong_image-02", "wrong_text-00"), world.oracle)
    given = {name: world.outputs(one) for name, one in {"theta0": theta0, "oracle": oracle, "m": model}.items()}
    untested, tested = (
        score_rows(world.samples, given, {}, seed=0, bootstrap=resamples)[-1]["ues"] for resamples in (0, 1000)
    )
    assert (untested["incorrectness"]["robust"], untested["incorrectness"]["robust_probe"]) == (0.0, "paraphrase-1")
    assert (tested["incorrectness"]["robust"], tested["incorrectness"]["value"]) == (None, 1.0)
    assert tested["privacy"]["robust"] == untested["privacy"]["robust"] == 1.0, "there the lead is real"


def test_the_truth_is_asked_for_by_the_usual_question_alone(world) -> None:
    """A wording under which neither the wrong nor the right fact comes has brought nothing to light."""

    def silent(sample: Sample, probe: str = "original") -> str:
        return "nothing" if probe != "original" else world.oracle(sample)

    policies = {"theta0": world.original, "oracle": world.oracle, "silent": silent}
    given = {name: world.outputs(policy) for name, policy in policies.items()}
    ues = score_rows(world.samples, given, {}, seed=0, bootstrap=0)[-1]["ues"]["incorrectness"]
    assert (ues["value"], ues["robust"]) == (1.0, 1.0)


def test_errors_by_type_are_on_the_scale_of_the_score(rows) -> None:
    assert rows["theta0"]["by_error_type"]["laterality"] == {"suppression": 0.0, "restoration": 0.0}
    assert rows["oracle"]["by_error_type"]["modality"] == {"suppression": 1.0, "restoration": 1.0}
    assert rows["collapse"]["by_error_type"]["modality"] == {"suppression": 1.0, "restoration": 0.0}


def test_membership_stands_beside_the_oracles(world) -> None:
    held = [
        replace(one, logprobs=(-2.0,)) if one.sample_id.startswith("3-") else one
        for one in world.outputs(world.original)
    ]
    scored = score_rows(world.samples, {"theta0": held, "oracle": world.outputs(world.oracle)}, {}, seed=0, bootstrap=0)
    private = scored[0]["metrics"]["forget/privacy"]["private_image"]
    assert (private["membership_auc"], private["membership_auc_oracle"]) == (1.0, 0.5)
    refusing = scored[2]["metrics"]["forget/privacy"]["private_image"]
    assert (refusing["membership_auc"], refusing["probability"]) == (None, None)
    assert scored[0]["ues"]["privacy"]["low"] is None  # no resamples, no interval


def test_information_about_a_row_is_carried_over(world) -> None:
    info = {
        "theta0": {"curves": [{"step": 1, "loss": math.nan, "forget": None, "retain": 0.5, "lr": 1e-7}]},
        "npo": {
            "label": "NPO", "family": "preference", "source": "arXiv 2404.05868", "summary": "s", "role": "method",
            "cost": {"steps": 3, "seconds": math.inf, "share_of_oracle": 0.25},
        },
    }  # fmt: skip
    given = {"theta0": world.outputs(world.original), "oracle": world.outputs(world.oracle)}
    given["npo"] = given["oracle"]
    row = {one["name"]: one for one in score_rows(world.samples, given, info, seed=0, bootstrap=0)}
    assert row["theta0"]["curves"] == [{"step": 1, "loss": None, "forget": None, "retain": 0.5, "lr": 1e-7}]
    assert row["npo"]["cost"] == {"steps": 3, "seconds": None, "share_of_oracle": 0.25}
    assert (row["npo"]["label"], row["npo"]["family"], row["npo"]["source"]) == (
        "NPO",
        "preference",
        "arXiv 2404.05868",
    )
    assert row["oracle"]["cost"] is None
    assert list(row["npo"]) == [
        "name", "label", "role", "family", "source", "summary", "metrics", "by_class", "by_error_type", "by_probe",
        "specificity", "attacks", "ues", "verdict", "cost", "curves",
    ]  # fmt: skip


def test_neither_order_nor_process_changes_a_byte(world) -> None:
    given = outputs_of(world)
    first = score_rows(world.samples, given, {}, seed=0, bootstrap=50)
    shuffled = {}
    for name, outputs in given.items():
        shuffled[name] = random.Random(name).sample(outputs, len(outputs))
    second = score_rows(random.Random(1).sample(world.samples, len(world.samples)), shuffled, {}, seed=0, bootstrap=50)
    assert canonical_json(first) == canonical_json(second)  # which refuses NaN
    other = score_rows(world.samples, given, {}, seed=1, bootstrap=50)
    assert [row["metrics"] for row in other] == [row["metrics"] for row in first]


def test_a_diverged_model_is_scored_without_nan(world) -> None:
    broken = [replace(one, generated="", logprobs=(math.nan,) * 3) for one in world.outputs(world.original)]
    given = {"theta0": world.outputs(world.original), "oracle": world.outputs(world.oracle), "broken": broken}
    row = score_rows(world.samples, given, {}, seed=0, bootstrap=20)[-1]
    json.dumps(row, allow_nan=False)
    assert row["ues"]["privacy"]["value"] == 0.0
    assert row["metrics"]["test"]["general"]["degenerate"] == 1.0


def test_a_scenario_that_was_not_memorised_has_no_score(world) -> None:
    given = {
        "theta0": world.outputs(world.oracle),
        "oracle": world.outputs(world.oracle),
        "m": world.outputs(world.oracle),
    }
    row = score_rows(world.samples, given, {}, seed=0, bootstrap=20)[-1]
    assert row["ues"]["privacy"]["value"] is None
    assert row["verdict"]["level"] == "unknown"
    assert row["verdict"]["text"] == "Cannot be judged: not memorised (privacy and incorrectness)."


def test_a_benchmark_of_one_scenario(world) -> None:
    samples = [sample for sample in world.samples if sample.wrong_answer is None]
    used = {sample.id for sample in samples}
    given = {
        name: [one for one in world.outputs(policy) if one.sample_id in used]
        for name, policy in {"theta0": world.original, "oracle": world.oracle, "collapse": world.collapsed}.items()
    }
    row = score_rows(samples, given, {}, seed=0, bootstrap=20)[-1]
    assert row["ues"]["privacy"]["value"] == 0.0
    assert (
        row["ues"]["incorrectness"]["reason"]
        == "the benchmark holds no forget/incorrectness samples that can be scored"
    )
    assert row["by_error_type"] == {}


def test_interval_widens_with_few_patients_and_holds_the_value(world) -> None:
    def half(sample, probe):  # forgets every other patient
        tell = sample.patient_id and int(sample.patient_id[-1]) % 2
        return world.original(sample, probe) if tell else world.oracle(sample, probe)

    given = {
        "theta0": world.outputs(world.original),
        "oracle": world.outputs(world.oracle),
        "half": world.outputs(half),
    }
    ues = score_rows(world.samples, given, {}, seed=0, bootstrap=1000)[-1]["ues"]["privacy"]
    assert ues["parts"]["forget"] == 0.5
    assert 0 <= ues["low"] < ues["value"] < ues["high"] <= 1
    assert ues["high"] - ues["low"] > 0.2  # six patients say little


def test_of_one_patient_there_is_no_interval_and_no_probe_to_be_told_from_chance() -> None:
    """Every resample of one is the same: a single lucky guess would be certain."""
    one = build_world(forgotten=1)

    def lucky(held: Policy) -> Policy:
        def says(sample: Sample, probe: str = "original") -> str:
            told = sample.subset == Subset.FORGET_PRIVACY and probe == "paraphrase-1"
            return sample.answer if told else held(sample, probe)

        return says

    given = {
        "theta0": one.outputs(one.original), "oracle": one.outputs(one.oracle), "m": one.outputs(lucky(one.oracle)),
    }  # fmt: skip
    ues = score_rows(one.samples, given, {}, seed=0, bootstrap=100)[-1]["ues"]
    assert (ues["privacy"]["value"], ues["privacy"]["low"], ues["privacy"]["high"]) == (1.0, None, None)
    assert ues["privacy"]["robust"] is None
    assert ues["incorrectness"]["low"] is not None


def test_refuse_all_may_be_given(world) -> None:
    given = {"theta0": world.outputs(world.original), "oracle": world.outputs(world.oracle)}
    made = score_rows(world.samples, given, {}, seed=0, bootstrap=10)
    given["refuse_all"] = refuse_all_outputs(world.samples)
    assert score_rows(world.samples, given, {}, seed=0, bootstrap=10) == made


def test_a_row_without_probes_has_no_robust_score(world) -> None:
    given = {"theta0": world.outputs(world.original), "oracle": world.outputs(world.oracle)}
    given["m"] = world.outputs(world.oracle, probes=False)
    row = score_rows(world.samples, given, {}, seed=0, bootstrap=0)[-1]
    assert row["ues"]["privacy"]["robust"] is None
    assert row["ues"]["privacy"]["value"] == 1.0


@pytest.mark.parametrize("missing", ["theta0", "oracle"])
def test_references_are_needed(world, missing: str) -> None:
    given = outputs_of(world)
    del given[missing]
    with pytest.raises(UsageError, match=f"'{missing}'"):
        score_rows(world.samples, given, {}, seed=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda outputs: [one for one in outputs if one.sample_id != "1-0-direct"], "row 'm' has no output"),
        (lambda outputs: [*outputs, outputs[0]], "row 'm' has two outputs"),
        (lambda outputs: [*outputs, Output("nobody", "original", "?", SECRET)], "row 'm' has outputs for a sample"),
    ],
)
def test_outputs_that_do_not_fit_are_named_without_what_they_say(world, spoil, message: str) -> None:
    given = {"theta0": world.outputs(world.original), "oracle": world.outputs(world.oracle)}
    given["m"] = spoil(world.outputs(world.original))
    with pytest.raises(DataError, match=message) as error:
        score_rows(world.samples, given, {}, seed=0)
    assert SECRET not in str(error.value)
    assert error.value.record in ("1-0-direct", given["m"][0].sample_id, "nobody")


def test_the_row_that_lacks_an_output_is_named_even_if_it_is_theta0(world) -> None:
    given = {"theta0": world.outputs(world.original)[8:], "oracle": world.outputs(world.oracle)}
    with pytest.raises(DataError, match="row 'theta0' has no output"):
        score_rows(world.samples, given, {}, seed=0)


def test_what_is_measured_already_is_not_measured_again(world, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"oracle": world.outputs(world.oracle), "theta0": world.outputs(world.original)}
    expected = score_rows(world.samples, given, {}, seed=0, bootstrap=10)
    measured = rows_module.measured_rows({sample.id: sample for sample in world.samples}, given)
    counted: list[int] = []
    whole = rows_module.all_metrics
    monkeypatch.setattr(rows_module, "all_metrics", lambda s, o: [counted.append(1), whole(s, o)][1])
    assert score_rows(world.samples, given, {}, seed=0, bootstrap=10, measured=measured) == expected
    assert len(counted) == 1, "the row that refuses everything is made here"
    assert [row["name"] for row in expected] == ["theta0", "oracle", "refuse_all"]


def test_samples_that_nobody_was_asked_about_are_left_out(world) -> None:
    asked = {sample.id for sample in world.samples if sample.subset != "holdout"}
    given = {
        name: [one for one in world.outputs(policy) if one.sample_id in asked]
        for name, policy in {"theta0": world.original, "oracle": world.oracle}.items()
    }
    row = score_rows(world.samples, given, {}, seed=0, bootstrap=10)[0]
    assert "holdout" not in row["metrics"]
    assert row["metrics"]["forget/privacy"]["private_image"]["membership_auc"] is None


def test_finite_keeps_everything_but_nan() -> None:
    assert finite({"a": [1, math.nan, (True, "x", None)], 2: -math.inf}) == {
        "a": [1, None, [True, "x", None]],
        "2": None,
    }


def test_thousands_of_different_answers_are_scored_in_seconds(world) -> None:
    words = ["the", "left", "right", "lung", "nodule", "opacity", "liver", "mass", "small", "large", "4", "phone", "in"]

    def babble(seed: int):
        generator = random.Random(seed)
        return lambda sample, probe: " ".join(generator.choices(words, k=generator.randint(1, 20)))

    given = {"theta0": world.outputs(world.original), "oracle": world.outputs(world.oracle)}
    given |= {f"m{seed}": world.outputs(babble(seed)) for seed in range(20)}
    count = sum(map(len, given.values()))
    started = time.process_time()
    score_rows(world.samples, given, {}, seed=0, bootstrap=1000)
    assert (time.process_time() - started) / count < 10 / 60_000 * 4  # 12 rows of 5,000 outputs in 10 s, with a margin


def test_importing_the_rows_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "numpy", "scipy", "nltk", "sacrebleu"]
    code = f"import sys, mllmu_med.evaluation.rows; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
