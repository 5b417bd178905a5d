import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from mllmu_med.benchmark.sample import Subset
from mllmu_med.errors import DataError
from mllmu_med.evaluation.outputs import Output
from mllmu_med.report.browser import browser_data, chosen, script_json
from mllmu_med.report.reading import summaries
from tests.unit.report.fake_run import FakeBenchmark

Outputs = dict[str, list[Output]]


def _data(results: dict[str, Any], benchmark: FakeBenchmark, outputs: Outputs, most: int = 400) -> dict[str, Any]:
    return browser_data(summaries(results), benchmark, outputs, most)


def test_every_sample_has_an_answer_and_an_outcome_per_model(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    data = _data(results, benchmark_samples, outputs)
    assert [row["name"] for row in data["rows"]] == [row["name"] for row in results["rows"]]
    order = list(Subset)
    expected = sorted(benchmark_samples.samples(), key=lambda sample: order.index(sample.subset))
    assert [sample["id"] for sample in data["samples"]] == [sample.id for sample in expected]
    assert {(len(s["answers"]), len(s["outcomes"])) for s in data["samples"]} == {(11, 11)}
    theta0 = Counter(sample["outcomes"][0] for sample in data["samples"])
    assert theta0 == {"leaks": 17, "kept": 25, "clear": 3}


def test_private_values_are_marked_in_truth_and_answers(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    leak = _data(results, benchmark_samples, outputs)["samples"][0]
    pieces = ["A small nodule in the left lung; patient ", "Lena Okafor", ", record ", "MRN-704311", "."]
    assert leak["truth"] == [
        ["trained, to forget", "bad", pieces],
        ["clean answer", "good", "A small nodule in the left lung."],
    ]
    assert leak["answers"][0] == pieces
    assert leak["answers"][1] == "A small nodule in the left lung."
    assert [probe["name"] for probe in leak["probes"]] == ["paraphrase-1", "prefix", "blank"]
    assert [probe["image"] for probe in leak["probes"]] == ["", "", "blank image"]
    assert leak["probes"][0]["leaks"][:2] == [True, False]


def test_images_are_carried_once(results: dict[str, Any], outputs: Outputs, benchmark_samples: FakeBenchmark) -> None:
    data = _data(results, benchmark_samples, outputs)
    leak, direct, text = data["samples"][:3]
    assert leak["image"] == direct["image"] == 0
    assert text["image"] is None
    assert len(data["images"]) == len(set(data["images"])) == 1 + max(s["image"] or 0 for s in data["samples"])


def test_rows_and_samples_without_outputs_are_left_out(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    some = {name: [o for o in outputs[name] if o.sample_id.startswith("w")] for name in ("theta0", "npo")}
    data = _data(results, benchmark_samples, {**some, "stranger": some["npo"]})
    assert [row["name"] for row in data["rows"]] == ["theta0", "npo"]
    assert {sample["subset"] for sample in data["samples"]} == {"forget/incorrectness"}
    assert data["total"] == 8


def test_a_choice_takes_from_every_stratum_and_does_not_depend_on_the_order(benchmark_samples: FakeBenchmark) -> None:
    samples = benchmark_samples.samples()
    strata = {(sample.subset, sample.stratum) for sample in samples}
    some = chosen(samples, len(strata))
    assert {(sample.subset, sample.stratum) for sample in some} == strata
    assert {s.id for s in chosen(samples[::-1], 20)} == {s.id for s in chosen(samples, 20)}
    assert len(chosen(samples, 20)) == 20
    assert {s.id for s in some} < {s.id for s in chosen(samples, 30)}
    assert [s.subset for s in some] == sorted((s.subset for s in some), key=list(Subset).index)


def test_what_theta0_did_not_know_is_not_damage(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    def ignorant(output: Output) -> Output:
        return replace(output, generated="no idea") if output.sample_id == "v6" else output

    data = _data(results, benchmark_samples, {name: list(map(ignorant, said)) for name, said in outputs.items()})
    sample = next(sample for sample in data["samples"] if sample["id"] == "v6")
    assert set(sample["outcomes"]) == {"missed"}


def test_what_theta0_did_not_hold_cannot_be_forgotten(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    outputs["theta0"] = [replace(one, generated="A small nodule in the left lung.") for one in outputs["theta0"]]
    leak = _data(results, benchmark_samples, outputs)["samples"][0]
    assert "forgotten" not in leak["outcomes"]
    assert leak["outcomes"][:2] == ["clear", "clear"]


def test_an_unreadable_image_is_named(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    image_id = benchmark_samples.samples()[0].image_id
    broken = FakeBenchmark(benchmark_samples.samples(), dict.fromkeys(benchmark_samples._images, b"\x89PNG"))
    with pytest.raises(DataError, match=str(image_id)):
        _data(results, broken, outputs)


def test_script_json_cannot_close_its_element() -> None:
    hostile = ["</script><script>alert(1)</script>", "<!--", "]]>", "&lt;", "\u2028\u2029"]
    text = script_json(hostile)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == hostile
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


def test_real_values_are_hidden_wherever_they_stand(
    results: dict[str, Any], benchmark_samples: FakeBenchmark, outputs: Outputs
) -> None:
    shown = _data(results, benchmark_samples, outputs)
    real = FakeBenchmark(benchmark_samples.samples(), benchmark_samples._images)
    real.manifest = {"plan": {"private_values": "request"}}
    hidden = _data(results, real, outputs)
    values = {span.value for sample in real.samples() for span in sample.spans}
    assert all(value in json.dumps(shown, ensure_ascii=False) for value in list(values)[:3])
    text = json.dumps(hidden, ensure_ascii=False).lower()
    assert not [value for value in values if value.lower() in text]
    assert hidden["samples"][0]["truth"][0][2][1] == "[name]"
    # What is told of the outcome does not change.
    assert [s["outcomes"] for s in hidden["samples"]] == [s["outcomes"] for s in shown["samples"]]
