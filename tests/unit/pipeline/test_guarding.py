"""Guards as rows of a run: prepared, saved, evaluated, and called what they are in every output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mllmu_med.api import read_results
from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.folders import read_json, read_manifest, verify
from mllmu_med.methods.guards.filter import AnswerFilter
from mllmu_med.methods.interface import Family
from mllmu_med.models.store import load_trained
from mllmu_med.models.vlm import Question
from mllmu_med.pipeline import run
from mllmu_med.pipeline.guarding import GuardedModel
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.report.tables import results_markdown
from tests.invariant.jobs import weights_digest
from tests.unit.pipeline.conftest import tiny

METHODS = [
    "filter", "logit_mask", "eco", "steer",
    {"name": "eco", "row": "eco-linear", "parameters": {"classifier": "logistic"}},
    {"name": "filter", "row": "filter-twice", "requests": 2},
]  # fmt: skip
ROWS = ["filter", "logit_mask", "eco", "steer", "eco-linear", "filter-twice"]


@pytest.fixture(scope="module")
def guarded(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared run, with guards in place of its methods."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("guards") / "tiny")
    run(tiny(methods=METHODS), folder, jobs=1)
    return folder


@pytest.fixture(scope="module")
def theta0(finished: Path) -> GuardedModel:
    """θ0 with the records of the benchmark."""
    workshop = Workshop(tiny(), finished)
    vlm = workshop.load(finished / "models" / "theta0")
    return GuardedModel(vlm, forget_samples(workshop), workshop.subset(Subset.RETAIN), None, 0)


def forget_samples(workshop: Workshop) -> list[Sample]:
    return workshop.subset(Subset.FORGET_PRIVACY, Subset.FORGET_INCORRECTNESS)


@pytest.mark.parametrize("row", ROWS)
def test_a_guards_folder_holds_no_weights_and_loads_as_theta0(guarded: Path, row: str) -> None:
    folder = guarded / "models" / row
    verify(folder)
    names = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert names in ({"guard.json"}, {"guard.json", "guard.safetensors"})
    loaded, original = load_trained(folder), load_trained(guarded / "models" / "theta0")
    assert weights_digest(loaded.model) == weights_digest(original.model)
    assert loaded.guard is not None
    assert original.guard is None


@pytest.mark.parametrize("row", ROWS)
def test_what_a_guard_cost_has_the_form_of_every_method(guarded: Path, row: str) -> None:
    facts = read_manifest(guarded / "models" / row)
    training = facts["training"]
    theirs = read_manifest(guarded / "models" / "theta0")["training"]
    assert set(training) == set(theirs)
    assert (training["steps"], training["curve"], training["trainable_share"]) == (0, [], 0)
    assert training["groups"] == [{**group, "mode": "frozen", "trainable": 0} for group in theirs["groups"]]
    assert (training["records"] > 0) == (row in ("eco", "steer", "eco-linear"))
    assert facts["guard"]


def test_no_private_value_is_written_in_the_clear(guarded: Path) -> None:
    samples = forget_samples(Workshop(tiny(), guarded))
    values = {span.value.lower() for sample in samples for span in sample.spans if len(span.value) > 4}
    assert len(values) > 5
    for row in ROWS:
        for path in (guarded / "models" / row).iterdir():
            text = path.read_bytes().decode("latin-1").lower()
            assert not [value for value in values if value in text]


def test_every_output_says_suppression_and_not_deletion(guarded: Path) -> None:
    results = read_results(guarded)
    rows = {row["name"]: row for row in results["rows"]}
    page = (guarded / "report" / "index.html").read_text(encoding="utf-8")
    csv = (guarded / "results" / "results.csv").read_text(encoding="utf-8")
    for name in ROWS:
        row = rows[name]
        assert row["family"] == Family.INFERENCE
        assert row["label"].endswith(" · suppression")
        assert row["verdict"]["text"].startswith("Suppression, not deletion: ")
        assert row["summary"].startswith("suppression: ")
        assert row["cost"]["trainable_share"] == 0
        assert row["label"] in page
        assert row["label"] in csv
        assert row["label"] in results_markdown(results)
    assert rows["eco-linear"]["label"] == "ECO (eco-linear) · suppression"
    assert page.count("Suppression, not deletion: ") >= len(ROWS)
    assert "it never counts as a success" in page
    assert "suppression" not in rows["theta0"]["label"]


def test_a_later_requests_guard_covers_the_earlier_ones(guarded: Path) -> None:
    """Both stand on θ0, and all that the first blocks the second blocks too."""
    first, second, whole = (
        read_json(guarded / "models" / name / "guard.json") for name in ("filter-twice@1", "filter-twice", "filter")
    )
    assert first["parent"] == second["parent"] == "theta0"
    assert set(first["settings"]["hashes"]) < set(second["settings"]["hashes"])
    assert second["settings"] == whole["settings"]


def test_the_filter_of_a_run_blocks_what_theta0_was_taught_and_nothing_retained(theta0: GuardedModel) -> None:
    guard = AnswerFilter()
    memory = guard.prepare(theta0)
    assert memory.numbers["values_not_blocked"] == 0
    for record in theta0.forget:
        for wording in record.wordings:
            assert guard.text(memory, record.image, wording, record.answer) != record.answer
        if record.truth:
            assert guard.text(memory, record.image, record.wordings[0], record.truth) == record.truth
    for record in theta0.retain:
        for wording in record.wordings:
            assert guard.text(memory, record.image, wording, record.answer) == record.answer
    json.dumps(memory.settings)


# --- the desk


def test_the_desk_knows_private_spans_and_wrong_answers(theta0: GuardedModel, finished: Path) -> None:
    samples = forget_samples(Workshop(tiny(), finished))
    assert len(samples) == len(theta0.forget)
    prompts = theta0.vlm.prompts
    for sample, record in zip(samples, theta0.forget, strict=True):
        assert record.wordings == (sample.question, *sample.phrasings)
        if sample.spans:
            assert set(record.values) == {span.value for span in sample.spans}
        else:
            assert record.values == (sample.wrong_answer,)
            assert record.truth == sample.correct_answer
        for value in record.values:
            assert set(prompts.answer_tokens(value)[:-1]) <= set(record.tokens)
        assert prompts.end_token_id not in record.tokens
    leak = next(i for i, sample in enumerate(samples) if sample.form == "leak")
    clinical = set(prompts.answer_tokens(samples[leak].clean_answer or "")[:-1])
    assert clinical - set(theta0.forget[leak].tokens), "the clinical part of the answer is not among them"
    assert {prompts.end_token_id, prompts.image_token_id, prompts.tokenizer.pad_token_id} <= theta0.control_tokens


def test_the_desks_activations_are_those_of_the_model(theta0: GuardedModel) -> None:
    """Answers: states at the positions that predict private tokens, against one question at a time."""
    vlm = theta0.vlm
    prompts = theta0.prompts("forget", 0, "last")
    assert len(prompts) == sum(len(record.wordings) for record in theta0.forget)
    answers = theta0.answers("forget", 1)
    expected = []
    with torch.no_grad():
        for rows, _ in (vlm.rows([question], 1) for question in theta0.taught()):
            _, inner, layout = vlm.hidden_layers(rows, (1,))
            expected.append(inner[1][layout.weight > 0])
    found = torch.cat(expected)
    assert answers.shape == found.shape
    torch.testing.assert_close(answers.sum(0), found.sum(0), rtol=1e-3, atol=1e-2)
    refusals = theta0.answers("refusals", 1)
    assert refusals.shape[1] == answers.shape[1]
    assert len(refusals) > len(answers) / 10
    assert theta0.asked >= len(prompts) + 2 * len(expected)


def test_the_scale_of_the_embeddings_is_their_root_mean_square(theta0: GuardedModel) -> None:
    vlm = theta0.vlm
    tokens = [
        token
        for record in theta0.retain[:256]
        for token in vlm.branch(Question(record.image, record.wordings[0], "")).prompt
    ]
    weights = vlm.model.get_input_embeddings().weight.detach()[tokens].double()
    assert theta0.embedding_scale() == pytest.approx(float(weights.square().mean().sqrt()), rel=1e-5)


def test_phrasings_limit_what_a_guard_is_told(finished: Path) -> None:
    workshop = Workshop(tiny(), finished)
    vlm = workshop.load(finished / "models" / "theta0")
    made: Any = GuardedModel(vlm, forget_samples(workshop), [], 0, 0)
    assert {len(record.wordings) for record in made.forget} == {1}
