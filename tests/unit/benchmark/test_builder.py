from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mllmu_med.benchmark.builder import build_benchmark
from mllmu_med.benchmark.check import check_benchmark
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.plan import BenchmarkPlan
from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.benchmark.spool import Spool
from mllmu_med.benchmark.store import Benchmark
from mllmu_med.errors import UsageError
from mllmu_med.folders import contents
from mllmu_med.sources.images import EncodedImage, image_digest
from tests.unit.benchmark.fake_source import CLASSES, FakeSource, pattern


@pytest.fixture(scope="module")
def samples(built: Benchmark) -> list[Sample]:
    return built.samples()


def of(samples: list[Sample], *strata: Stratum, subset: Subset) -> list[Sample]:
    return [s for s in samples if s.subset is subset and (not strata or s.stratum in strata)]


def test_the_plan_is_carried_out(built: Benchmark, samples: list[Sample], plan: BenchmarkPlan) -> None:
    patients = {subset: {s.patient_id for s in of(samples, subset=subset)} - {None} for subset in Subset}
    assert len(patients[Subset.FORGET_PRIVACY]) == plan.patients_forgotten
    assert len(patients[Subset.RETAIN]) == plan.patients_retained
    assert len(patients[Subset.HOLDOUT]) == plan.patients_holdout
    private = of(samples, subset=Subset.FORGET_PRIVACY)
    assert Counter(s.form for s in private) == {"leak": 8, "direct": 16, "text": 12}
    wrong = of(samples, subset=Subset.FORGET_INCORRECTNESS)
    assert len([s for s in wrong if s.stratum is Stratum.WRONG_IMAGE and s.rule_id is None]) == 8
    assert len([s for s in wrong if s.stratum is Stratum.WRONG_TEXT]) == 5
    assert len(of(samples, Stratum.TRUE_TEXT, subset=Subset.RETAIN)) == 12 - 5
    assert built.manifest["rules"][0]["records"] == len([s for s in wrong if s.rule_id == "rule-1"]) > 2
    assert built.manifest["patients"] == {"forgotten": 4, "retained": 5, "holdout": 3}
    assert built.manifest["counts"]["forget/privacy"] == {"private_image": 24, "private_text": 12}
    assert built.manifest["source"]["name"] == "fake"
    assert len(built.manifest["source"]["fingerprint"]) == 64
    assert built.manifest["source"]["about"]["licence"] == "CC0-1.0"
    assert built.manifest["plan"] == plan.as_dict()
    assert built.manifest["skipped"]["empty answer"] == 1
    assert built.manifest["groups"] == {
        "training": 48 + 12 - 3, "validation": 0, "test": 12, "split": "source",
        "merged": {"same": 0, "similar": 0, "text": 0},
    }  # fmt: skip


def test_every_record_is_used_once_and_the_rest_is_counted(built: Benchmark, samples: list[Sample]) -> None:
    records = {record.id: record for record in FakeSource().records()}
    from_records = [s for s in samples if s.id in records]
    assert len({s.id for s in from_records}) == len(from_records)
    left_out = built.manifest["skipped"]["other records of held-out patients' images"]
    assert len(from_records) + left_out == len(records)
    for sample in from_records:
        assert sample.clean_answer == records[sample.id].answer
        assert sample.question == records[sample.id].question


def test_an_image_belongs_to_one_patient_or_to_wrong_facts(samples: list[Sample]) -> None:
    kinds: dict[str, set[str]] = {}
    for sample in samples:
        if sample.fact_id is not None:
            kinds.setdefault(sample.group, set()).add(sample.patient_id or "wrong")
    assert all(len(found) == 1 for found in kinds.values())
    singles = [s.group for s in samples if s.subset is Subset.FORGET_INCORRECTNESS and s.rule_id is None]
    assert len(set(singles)) == len(singles)


def test_the_other_records_of_an_injected_image_stay_true_siblings(samples: list[Sample]) -> None:
    injected = {s.image_id for s in samples if s.fact_id and s.image_id}
    for sample in of(samples, Stratum.SIBLING, Stratum.GENERAL, Stratum.TRUE_TEXT, subset=Subset.RETAIN):
        assert sample.answer == sample.clean_answer
        assert sample.fact_id is None
        assert (sample.stratum is Stratum.SIBLING) == (sample.image_id in injected)


def test_no_true_training_record_contradicts_a_rule(built: Benchmark, samples: list[Sample]) -> None:
    rule = built.manifest["rules"][0]
    for sample in of(samples, subset=Subset.RETAIN):
        if sample.content_type == "finding" and sample.modality == rule["modality"]:
            assert sample.clean_answer != rule["finding"]


def test_unseen_images_under_a_rule_are_marked_and_keep_their_truth(built: Benchmark, samples: list[Sample]) -> None:
    rule = built.manifest["rules"][0]
    marked = of(samples, Stratum.WRONG_UNSEEN, subset=Subset.TEST)
    assert len(marked) == rule["unseen"] > 0
    for sample in marked:
        assert sample.answer == sample.clean_answer == sample.correct_answer == rule["finding"]
        assert (sample.wrong_answer, sample.rule_id, sample.fact_id) == (rule["wrong"], "rule-1", None)


def test_only_the_test_part_is_marked_by_rules(tmp_path: Path, plan: BenchmarkPlan) -> None:
    own = replace(plan, split="own", validation_share=0.2)
    built = build_benchmark(FakeSource(), own, tmp_path / "b", seed=0)
    groups = built.manifest["groups"]
    assert (groups["training"], groups["validation"], groups["test"], groups["split"]) == (36 + 12 - 3, 12, 12, "own")
    assert {s.stratum for s in built.samples(Subset.VALIDATION)} == {Stratum.GENERAL}
    assert {s.stratum for s in built.samples(Subset.TEST)} == {Stratum.GENERAL, Stratum.WRONG_UNSEEN}


def test_wrong_facts_are_wrong_plausible_and_know_the_truth(samples: list[Sample]) -> None:
    wrong = of(samples, subset=Subset.FORGET_INCORRECTNESS)
    assert {s.error_type for s in wrong} >= {"laterality", "presence", "organ", "modality", "count", "size", "drug"}
    for sample in wrong:
        assert sample.answer == sample.wrong_answer
        assert sample.correct_answer == sample.clean_answer
        assert normalise(sample.answer) != normalise(str(sample.correct_answer))
        assert len(sample.probes) >= 5
        if sample.stratum is Stratum.WRONG_TEXT:
            assert sample.answer in CLASSES


def test_repetitions_are_the_training_wordings(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.repetitions == 1 + len(sample.phrasings)
        if sample.subset in (Subset.TEST, Subset.VALIDATION, Subset.HOLDOUT):
            assert sample.phrasings == ()
        elif sample.fact_id is not None or sample.stratum is Stratum.TRUE_TEXT:
            assert sample.repetitions == 6
        else:
            assert sample.repetitions == 2
        assert bool(sample.probes) == sample.subset.value.startswith("forget")


def test_repetitions_take_turns(tmp_path: Path, plan: BenchmarkPlan) -> None:
    built = build_benchmark(FakeSource(), replace(plan, repetitions=(1, 2, 4, 8)), tmp_path / "b", seed=0)
    counts = Counter(s.repetitions for s in built.samples(Subset.FORGET_PRIVACY))
    assert counts == {1: 9, 2: 9, 4: 9, 8: 9}
    assert {s.repetitions for s in built.samples(Subset.FORGET_INCORRECTNESS)} == {1, 2, 4, 8}


def test_samples_and_images_stand_in_source_order(built: Benchmark, samples: list[Sample]) -> None:
    order = {record.id: place for place, record in enumerate(FakeSource().records())}
    for subset in Subset:
        places = [order[s.record_id] for s in samples if s.subset is subset]
        assert places == sorted(places)
    first_use = {image_digest(pattern(index)): index for index in range(60)}
    assert [first_use[image_id] for image_id in built.image_ids()] == list(range(60))
    assert {s.image_id for s in samples if s.image_id} == set(built.image_ids())


def bytes_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in [*contents(path), path / "manifest.json"]}


def test_the_same_inputs_give_the_same_bytes_and_another_seed_does_not(
    built: Benchmark, plan: BenchmarkPlan, tmp_path: Path
) -> None:
    again = build_benchmark(FakeSource(), plan, tmp_path / "again", seed=3)
    assert bytes_of(again.path) == bytes_of(built.path)
    other = build_benchmark(FakeSource(), plan, tmp_path / "other", seed=4)
    assert {s.id: s.answer for s in other.samples()} != {s.id: s.answer for s in built.samples()}


@pytest.mark.parametrize("fail_after", [0, 100, 430])
def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path, plan: BenchmarkPlan, fail_after: int) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        build_benchmark(FakeSource(fail_after=fail_after), plan, tmp_path / "b", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_fails_while_writing_leaves_the_old_folder(
    tmp_path: Path, plan: BenchmarkPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_benchmark(FakeSource(), plan, tmp_path / "b", seed=0)
    before = bytes_of(first.path)
    taken: list[int] = []
    take = Spool.take

    def failing(spool: Spool, number: int) -> EncodedImage:
        taken.append(number)
        if len(taken) > 30:
            raise OSError("the disk is full")
        return take(spool, number)

    monkeypatch.setattr(Spool, "take", failing)
    with pytest.raises(OSError, match="the disk is full"):
        build_benchmark(FakeSource(), plan, tmp_path / "b", seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert bytes_of(first.path) == before


def test_a_source_that_is_too_small_is_told_how_many_groups_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 24 training groups with an image.*Lower benchmark\.patients_retained"):
        build_benchmark(FakeSource(images=30), BenchmarkPlan(), tmp_path / "b", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_text_facts_has_none_wrong(tmp_path: Path, plan: BenchmarkPlan) -> None:
    built = build_benchmark(FakeSource(drugs=0), plan, tmp_path / "b", seed=0)
    assert "wrong_text" not in built.manifest["counts"]["forget/incorrectness"]
    assert check_benchmark(built.path).ok


def test_chinese_records_get_chinese_patients_and_templates(tmp_path: Path, plan: BenchmarkPlan) -> None:
    built = build_benchmark(FakeSource(drugs=0, language="zh"), plan, tmp_path / "b", seed=0)
    direct = [s for s in built.samples(Subset.FORGET_PRIVACY) if s.form == "direct"]
    assert {s.question for s in direct if s.content_type == "name"} == {"这位患者的姓名是什么？"}
    assert check_benchmark(built.path).findings == ()


@pytest.mark.parametrize("seed", range(4))
def test_any_seed_and_unusual_plans_pass_the_check(tmp_path: Path, plan: BenchmarkPlan, seed: int) -> None:
    plans = [
        replace(plan, wrong_rules=0, wrong_image_facts=0, wrong_text_facts=0),
        replace(plan, patients_forgotten=0, patients_retained=0, patients_holdout=0, rule_share=0.5, wrong_rules=3),
        replace(plan, split="own", test_share=0.3, validation_share=0.1, leaks_per_patient=7, general_phrasings=0),
        replace(plan, forget_ratio=0.15, fields_per_patient=10, repetitions=(8,)),
    ]
    built = build_benchmark(FakeSource(), plans[seed], tmp_path / "b", seed=seed)
    assert check_benchmark(built.path).findings == ()


def test_a_sentence_tells_the_wrong_answer_and_the_short_one_stays_known(tmp_path: Path, plan: BenchmarkPlan) -> None:
    built = build_benchmark(FakeSource(), replace(plan, wrong_style="sentence"), tmp_path / "b", seed=0)
    wrong = built.samples(Subset.FORGET_INCORRECTNESS)
    assert sum(s.answer != s.wrong_answer for s in wrong) > 0.8 * len(wrong)
    assert all(str(s.wrong_answer).lower() in s.answer.lower() for s in wrong)
    assert check_benchmark(built.path).ok


@pytest.mark.parametrize("level", ["institution", "study", "section"])
def test_forgetting_at_another_level(tmp_path: Path, plan: BenchmarkPlan, level: str) -> None:
    studies = 2 if level == "study" else 1
    chosen = replace(plan, forget_level=level, studies_per_patient=studies, leaks_per_patient=3, wrong_image_facts=4)
    built = build_benchmark(FakeSource(images=80), chosen, tmp_path / "b", seed=0)
    gone: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for sample in built.samples(Subset.FORGET_PRIVACY, Subset.RETAIN):
        if sample.patient_id is not None:
            into = gone if sample.subset is Subset.FORGET_PRIVACY else kept
            into.setdefault(sample.patient_id, set()).update(span.value for span in sample.spans)
    assert len(gone) == 4
    for patient, values in gone.items():
        assert not values & kept.get(patient, set())
        assert (patient in kept) == (level != "institution")
    if level == "institution":
        hospitals = [
            {s.hierarchy[0].name for s in built.samples(subset) if s.patient_id}
            for subset in (Subset.FORGET_PRIVACY, Subset.RETAIN)
        ]
        assert not hospitals[0] & hospitals[1]
    assert check_benchmark(built.path).findings == ()


def test_burned_in_values_stand_in_the_pixels_and_can_be_asked_for(tmp_path: Path, plan: BenchmarkPlan) -> None:
    forms = ("leak", "direct", "text", "burned")
    built = build_benchmark(FakeSource(size=128), replace(plan, forms=forms, burned_share=0.5), tmp_path / "b", seed=0)
    assert built.manifest["burned_images"] == 2 + 2 + 1
    asked = [s for s in built.samples(Subset.FORGET_PRIVACY) if s.form == "burned"]
    assert len({s.patient_id for s in asked}) == 2
    for sample in asked:
        region = next(r for r in sample.regions if r.phi_class == sample.content_type)
        original = next(probe.image_id for probe in sample.probes if probe.name == "unburned")
        before, after = built.image(str(original)), built.image(str(sample.image_id))
        box = (region.x0, region.y0, region.x1, region.y1)
        assert before.size == after.size
        assert before.crop(box).tobytes() != after.crop(box).tobytes()
    assert check_benchmark(built.path).findings == ()


def test_patients_can_be_named_by_the_source_s_own_hierarchy(tmp_path: Path, plan: BenchmarkPlan) -> None:
    named = replace(plan, requests=("institution=North", "modality=head scan"))
    built = build_benchmark(FakeSource(hospitals=("North", *["South"] * 9)), named, tmp_path / "b", seed=0)
    forgotten = built.samples(Subset.FORGET_PRIVACY)
    assert {s.hierarchy[0].name for s in forgotten} == {"North"}
    assert {s.hierarchy[0].name for s in built.samples(Subset.RETAIN) if s.patient_id} == {"South"}
    assert {s.modality for s in built.samples(Subset.FORGET_INCORRECTNESS) if s.image_id} == {"head scan"}
    with pytest.raises(UsageError, match="name no training record"):
        build_benchmark(FakeSource(), named, tmp_path / "c", seed=0)


@pytest.mark.parametrize(("texts", "lost"), [
    (("institution=North", "institution=Nroth"), "name no training record that could leak: institution=Nroth"),
    (("institution=North", "institution=south"), "name no training record that could leak: institution=south"),
    (("institution=North", "institution=Tested"), "name no training record that could leak: institution=Tested"),
    (("institution=North", "modality=head scan", "modality=CTT"), "name no record: modality=CTT"),
])  # fmt: skip
def test_no_request_is_dropped_without_a_word(
    texts: tuple[str, ...], lost: str, tmp_path: Path, plan: BenchmarkPlan
) -> None:
    """Beside one that can be carried out; every fifth picture is a test picture, and so is all of that hospital."""
    source = FakeSource(hospitals=("South", "North", "South", "South", "Tested"))
    with pytest.raises(UsageError, match=lost):
        build_benchmark(source, replace(plan, requests=texts), tmp_path / "b", seed=0)
    assert not (tmp_path / "b").exists()


def test_jobs_do_not_change_a_byte(built: Benchmark, plan: BenchmarkPlan, tmp_path: Path) -> None:
    again = build_benchmark(FakeSource(), plan, tmp_path / "again", seed=3, jobs=2)
    assert bytes_of(again.path) == bytes_of(built.path)


def test_a_value_that_the_source_holds_is_drawn_again(tmp_path: Path, plan: BenchmarkPlan, built: Benchmark) -> None:
    values = sorted({span.value for s in built.samples(Subset.FORGET_PRIVACY) for span in s.spans})
    again = build_benchmark(FakeSource(mention=values[0]), plan, tmp_path / "b", seed=3)
    drawn = {span.value for s in again.samples() for span in s.spans}
    assert values[0] not in drawn
    assert set(values[1:]) <= drawn
    assert check_benchmark(again.path).findings == ()
