from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from mllmu_med.benchmark.probes import FAMILIES
from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from mllmu_med.evaluation.grid import asked, evaluation_samples
from mllmu_med.evaluation.probe_images import BLANK, attach_benchmark


def sample(name: str, image: str | None = "i1", **changes: Any) -> Sample:
    fields: dict[str, Any] = {"subset": Subset.FORGET_PRIVACY, "stratum": Stratum.PRIVATE_IMAGE, "group": name}
    return Sample(id=name, record_id=name, question="Q?", answer="A", image_id=image, **{**fields, **changes})


PROBED = sample(
    "a",
    probes=(
        Probe("paraphrase-1", "Other?"), Probe("blank", "Q?", "blank"), Probe("mismatched", "Q?", "mismatched"),
        Probe("variant-2", "Q?", "variant-2"), Probe("other-1", "Q?", "other", "i7"),
        Probe("neighbour-question", "R?", answer="no"), Probe("neighbour-image", "Q?", "other", "i8", "yes"),
    ),
)  # fmt: skip


def test_every_probe_is_asked_about_its_own_image_and_answer() -> None:
    grid = asked([PROBED, sample("b", "i2")], probes=FAMILIES, seed=0)
    found = {(a.sample.id, a.probe): (a.question, a.image, a.answer) for a in grid}
    assert found == {
        ("a", "original"): ("Q?", "i1", "A"), ("a", "paraphrase-1"): ("Other?", "i1", "A"),
        ("a", "blank"): ("Q?", BLANK, "A"), ("a", "mismatched"): ("Q?", "i2", "A"),
        ("a", "variant-2"): ("Q?", "i1#variant-2", "A"), ("a", "other-1"): ("Q?", "i7", "A"),
        ("a", "neighbour-question"): ("R?", "i1", "no"), ("a", "neighbour-image"): ("Q?", "i8", "yes"),
        ("b", "original"): ("Q?", "i2", "A"),
    }  # fmt: skip


def test_only_the_families_asked_for() -> None:
    assert [a.probe for a in asked([PROBED], probes=(), seed=0)] == ["original"]
    names = [a.probe for a in asked([PROBED], probes=("neighbour", "blank"), seed=0)]
    assert names == ["original", "blank", "neighbour-question", "neighbour-image"]


def test_images_are_found_by_identifier_variants_included() -> None:
    own = Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    loaders: list[Any] = []
    vlm: Any = SimpleNamespace(attach_images=loaders.append)
    benchmark: Any = SimpleNamespace(image=lambda image_id: own if image_id == "i1" else pytest.fail(image_id))
    attach_benchmark(vlm, benchmark)
    (load,) = loaders
    assert load("i1") is own
    changed = load("i1#variant-3")
    assert changed.size == own.size
    assert changed.tobytes() != own.tobytes()
    assert load("i1#variant-3").tobytes() == changed.tobytes()
    assert load(BLANK).getpixel((0, 0)) == (128, 128, 128)


def test_large_ordinary_strata_are_thinned_by_whole_groups_and_facts_never() -> None:
    ordinary = [
        sample(f"o{n}", subset=Subset.TEST, stratum=Stratum.GENERAL, group=f"g{n // 5}") for n in range(100)
    ]  # fmt: skip
    facts = [sample(f"f{n}") for n in range(30)]
    unseen = [sample("v", subset=Subset.VALIDATION, stratum=Stratum.GENERAL)]
    kept = evaluation_samples([*ordinary, *facts, *unseen], most=20, seed=0)
    assert [s.id for s in kept if s.subset is Subset.FORGET_PRIVACY] == [s.id for s in facts]
    assert not [s for s in kept if s.subset is Subset.VALIDATION]
    chosen = [s for s in kept if s.subset is Subset.TEST]
    assert len(chosen) == 20
    assert all(sum(s.group == group for s in chosen) == 5 for group in {s.group for s in chosen})
    assert kept != evaluation_samples([*ordinary, *facts], most=20, seed=1)
