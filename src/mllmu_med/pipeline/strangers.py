"""Made-up patients that every model is asked about.

What a method does to retained patients whom it may not use cannot be looked at where they may not be looked at. What it
does to strangers can: the more of θ0's answers about made-up patients it changes, the more unused patients are gone
with the forgotten ones (docs/explanation/siblings.md). And who is forgotten must not be told from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mllmu_med.benchmark.sample import Sample, Stratum, Subset
from mllmu_med.engines.interface import Engine
from mllmu_med.evaluation.membership import kind_of
from mllmu_med.evaluation.memorisation import mean_logprob
from mllmu_med.evaluation.strangers import OfStrangers, StrangerAnswer, StrangerRecord
from mllmu_med.folders import digest, read_json, write_json
from mllmu_med.made_up.patients import made_up_patients
from mllmu_med.models.generation import Prompt
from mllmu_med.models.vlm import Question
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.progress import bar
from mllmu_med.seeding import derive

FILE = "strangers.json"


def strangers_asked(workshop: Workshop, samples: Sequence[Sample]) -> list[Sample]:
    """Samples of made-up patients of the format of everything that is to be forgotten; none are trained on.

    They are shown on ordinary images of the part that is evaluated, which show no patient of the benchmark; where there
    are none, on blends of forget images.

    Args:
        samples: what every model is asked (:func:`~mllmu_med.pipeline.evaluating.asked_samples`).
    """
    recipe = workshop.recipe
    if not recipe.evaluate.strangers:
        return []
    forget = workshop.subset(Subset.FORGET_PRIVACY)
    ordinary = [s.image_id for s in samples if s.subset is Subset.TEST and s.stratum is Stratum.GENERAL and s.image_id]
    seed = derive(recipe.seed, "strangers of the evaluation")  # others than any method makes up
    return made_up_patients(forget, sorted(set(ordinary)), recipe.evaluate.strangers, seed)


def ask_strangers(
    engine: Engine, strangers: Sequence[Sample], *, max_new_tokens: int, title: str
) -> list[StrangerAnswer]:
    """The digest of the model's greedy answer to each question, each once.

    Of strangers a model says what it remembers of others: that is compared, and not written down.
    """
    asked = list(dict.fromkeys((str(s.patient_id), s.image_id, s.question) for s in strangers))
    if not asked:
        return []
    with bar(title, len(asked)) as progress:
        prompts = [Prompt(image, question) for _, image, question in asked]
        said = engine.answers(prompts, max_new_tokens=max_new_tokens, progress=progress)
    return [StrangerAnswer(*one, digest([*one, answer.text])) for one, answer in zip(asked, said, strict=True)]


def strangers_likelihoods(engine: Engine, strangers: Sequence[Sample], *, title: str) -> list[StrangerRecord]:
    """How likely the model holds the made-up patients' records about images to be; none where the engine tells none."""
    asked = [sample for sample in strangers if sample.stratum is Stratum.PRIVATE_IMAGE]
    if not asked or not engine.tells_likelihoods:
        return []
    with bar(title, len(asked)) as progress:
        questions = [Question(sample.image_id, sample.question, sample.answer) for sample in asked]
        told = engine.likelihoods(questions, progress=progress)
    return [StrangerRecord(kind_of(one), mean_logprob(of.logprobs)) for one, of in zip(asked, told, strict=True)]


def write_strangers(told: OfStrangers, folder: Path) -> None:
    """``strangers.json``: ``answers`` (patient, image, question, digest of the answer) and ``records`` (kind,
    log-probability of the made-up answer)."""
    write_json(folder / FILE, {name: [list(one) for one in listed] for name, listed in told._asdict().items()})


def read_strangers(folder: Path) -> OfStrangers:
    """What :func:`write_strangers` wrote; nothing where a model was not asked."""
    file = folder / FILE
    if not file.is_file():
        return OfStrangers([], [])
    told = read_json(file)
    records = [StrangerRecord(tuple(kind), logprob) for kind, logprob in told["records"]]
    return OfStrangers([StrangerAnswer(*answer) for answer in told["answers"]], records)
