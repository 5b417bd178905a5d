from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mllmu_med.benchmark.sample import Region, Sample, Stratum, Subset
from tests.unit.benchmark.check.tampering import Good, about, changed, checks, ordinary, told


def everywhere(good: Good, sample: Sample, *regions: Region) -> dict[str, dict[str, object]]:
    """Other boxes in all samples about an image."""
    return {s.id: {"regions": regions} for s in good.samples if s.image_id == sample.image_id}


def test_boxes_outside_the_image_are_told(good: Good, tmp_path: Path) -> None:
    sample = good.one(form="burned", subset=Subset.RETAIN)
    first, *rest = sample.regions
    faults = [
        replace(first, x0=-1), replace(first, y1=97), replace(first, x1=first.x0), replace(first, y0=first.y1 + 1),
    ]  # fmt: skip
    for number, fault in enumerate(faults):
        samples = changed(good.samples, everywhere(good, sample, fault, *rest))
        report = good.tampered(tmp_path / str(number), samples, shown=None)
        assert checks(report) == {"regions"}
        box = f"[{fault.x0}, {fault.x1}) × [{fault.y0}, {fault.y1})"
        assert about(report, sample.id) == [f"the {first.phi_class} at {box} is not within 96 × 96 pixels"]
    edge = replace(first, x0=0, y0=0, x1=96, y1=96)
    assert told(good.tampered(tmp_path / "edge", changed(good.samples, everywhere(good, sample, edge, *rest)))) == []


def test_boxes_of_values_that_no_patient_of_the_image_has_are_told(good: Good, tmp_path: Path) -> None:
    sample, plain = good.one(form="burned", subset=Subset.RETAIN), ordinary(good.samples, Subset.TEST)[0]
    stranger = replace(sample.regions[0], phi_class="vehicle")
    changes = {
        **everywhere(good, sample, *sample.regions, stranger),
        **everywhere(good, plain, sample.regions[0]),
    }
    report = good.tampered(tmp_path / "b", changed(good.samples, changes), shown=None)
    assert checks(report) == {"regions"}
    assert about(report, sample.id) == ["a vehicle is burned into its image that no patient of its group has"]
    own = sample.regions[0].phi_class
    assert about(report, plain.id) == [f"a {own} is burned into its image that no patient of its group has"]


def test_samples_of_one_image_that_disagree_are_told(good: Good, tmp_path: Path) -> None:
    burned = good.one(form="burned", subset=Subset.RETAIN)
    siblings = [s for s in good.samples if s.image_id == burned.image_id and s.stratum is Stratum.SIBLING]
    report = good.tampered(tmp_path / "b", changed(good.samples, {siblings[-1].id: {"regions": ()}}))
    assert checks(report) == {"regions"}
    text = about(report, siblings[-1].id)[0]
    assert text.startswith("says otherwise than ")
    assert text.endswith(" what is burned into their image")


def test_a_question_about_pixels_needs_its_value_in_them(good: Good, tmp_path: Path) -> None:
    sample = good.one(form="burned", subset=Subset.RETAIN)
    left = [region for region in sample.regions if region.phi_class != sample.spans[0].phi_class]
    report = good.tampered(tmp_path / "b", changed(good.samples, everywhere(good, sample, *left)), shown=None)
    assert f"asks for a {sample.spans[0].phi_class} that is not burned into its image" in about(report, sample.id)


def test_a_text_only_sample_has_no_boxes(good: Good, tmp_path: Path) -> None:
    sample = good.one(stratum=Stratum.TRUE_TEXT)
    samples = changed(good.samples, {sample.id: {"regions": (Region("mrn", 0, 0, 1, 1),)}})
    report = good.tampered(tmp_path / "b", samples)
    assert "has burned-in values but no image" in about(report, sample.id)
