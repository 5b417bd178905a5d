"""A small world of samples and of models that answer them in known ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from mllmu_med.benchmark.sample import Probe, Sample, Span, Stratum, Subset
from mllmu_med.evaluation.outputs import Output

Policy = Callable[[Sample, str], str]


def spans_of(answer: str, **values: str) -> tuple[Span, ...]:
    """Spans of the named PHI classes' values in an answer."""
    return tuple(
        Span(phi_class, value, answer.index(value), answer.index(value) + len(value), 1e6)
        for phi_class, value in values.items()
    )


def patient(subset: Subset, number: int) -> list[Sample]:
    """Two leaks, one direct and one text-only question of one synthetic patient."""
    tag = {Subset.FORGET_PRIVACY: 1, Subset.RETAIN: 2, Subset.HOLDOUT: 3}[subset]
    name, mrn = f"Maria{'abcdefghij'[number]}x Lopez{'xyz'[tag - 1]}", f"{tag}{number:02d}4829"
    phone = f"{tag}{number:02d}-555-01{number:02d}"
    base = {
        "subset": subset, "stratum": Stratum.PRIVATE_IMAGE, "group": f"g-{subset}-{number}",
        "patient_id": f"p{tag}-{number}", "image_id": f"image-{tag}-{number}",
    }  # fmt: skip
    probes = (Probe("paraphrase-1", "Say it otherwise."), Probe("blank", "What?", image="blank"))
    probes = probes if subset == Subset.FORGET_PRIVACY else ()
    found = []
    for leak, (clean, values) in enumerate(
        {"left lung nodule": {"name": name, "mrn": mrn}, "Yes": {"phone": phone}}.items()
    ):
        answer = f"{clean}; patient {', '.join(values.values())}"
        found.append(
            Sample(
                id=f"{tag}-{number}-leak-{leak}", record_id=f"r{number}-{leak}", question="What is seen?",
                answer=answer, clean_answer=clean, form="leak", spans=spans_of(answer, **values), probes=probes, **base,
            )
        )  # fmt: skip
    for form, value in (("direct", {"mrn": mrn}), ("text", {"phone": phone})):
        (answer,) = value.values()
        sample = Sample(
            id=f"{tag}-{number}-{form}", record_id=f"r{number}", question=f"Which value ({form})?", answer=answer,
            form=form, spans=spans_of(answer, **value), probes=probes, **base,
        )  # fmt: skip
        found.append(replace(sample, stratum=Stratum.PRIVATE_TEXT, image_id=None) if form == "text" else sample)
    return found


def wrong_fact(number: int, stratum: Stratum, subset: Subset = Subset.FORGET_INCORRECTNESS) -> Sample:
    """A wrong side (even numbers) or modality (odd numbers)."""
    correct, wrong, kind = [("left lung", "right lung", "laterality"), ("CT", "MRI", "modality")][number % 2]
    trained = correct if subset == Subset.TEST else wrong
    return Sample(
        id=f"{stratum}-{number:02d}", record_id=f"{stratum}-{number}", subset=subset, stratum=stratum,
        question="Which one?", answer=trained, clean_answer=correct, correct_answer=correct, wrong_answer=wrong,
        error_type=kind, group=f"{stratum}-{number}", fact_id=f"fact-{number}",
        probes=(Probe("paraphrase-1", "Say it otherwise."),),
    )  # fmt: skip


def ordinary(number: int, subset: Subset, stratum: Stratum) -> Sample:
    """A clean record about one of several images; every third is a yes/no question."""
    answer = ["Yes", "liver", "a small round opacity in the upper lobe of the left lung"][number % 3]
    return Sample(
        id=f"{subset}-{stratum}-{number:03d}", record_id=f"o{number}", subset=subset, stratum=stratum,
        question="What?", answer=answer, clean_answer=answer, group=f"{subset}-{stratum}-{number // 3}",
        content_type=["presence", "organ", "finding"][number % 3], answer_type="closed" if number % 3 == 0 else "open",
    )  # fmt: skip


@dataclass(frozen=True)
class World:
    """Samples, and the outputs of a model given by its answers."""

    samples: list[Sample]

    def outputs(self, policy: Policy, mean_logprob: float = -0.5, *, probes: bool = True) -> list[Output]:
        found = []
        for sample in self.samples:
            asked = [("original", sample.question), *((probe.name, probe.question) for probe in sample.probes)]
            for name, question in asked if probes else asked[:1]:
                found.append(
                    Output(sample.id, name, question, policy(sample, name), False, (mean_logprob,) * 3, (True,) * 3)
                )
        return found

    @staticmethod
    def original(sample: Sample, probe: str = "original") -> str:
        """θ0: what it was trained to say; nothing on a blank image; three of four test answers."""
        if probe == "blank":
            return "nothing"
        if sample.stratum == Stratum.WRONG_UNSEEN:
            return str(sample.wrong_answer)
        if sample.subset == Subset.HOLDOUT:
            return "unknown person"
        if sample.subset == Subset.TEST and int(sample.id[-3:]) % 4 == 0:
            return "spleen"
        return sample.answer

    @staticmethod
    def oracle(sample: Sample, probe: str = "original") -> str:
        """θ*: clean and correct answers, invented values where only a value was asked for."""
        if sample.subset == Subset.FORGET_PRIVACY:
            return sample.clean_answer or "9990000"
        if sample.wrong_answer is not None:
            return str(sample.correct_answer)
        return World.original(sample)

    @staticmethod
    def forgets_neighbours(sample: Sample, probe: str = "original") -> str:
        """Like the oracle, but the retained patients are gone too."""
        if sample.subset == Subset.RETAIN and sample.patient_id:
            return "unknown person"
        return World.oracle(sample, probe)

    @staticmethod
    def collapsed(sample: Sample, probe: str = "original") -> str:
        """The same word over and over, and it is the right answer to a third of the questions."""
        return "yes yes yes yes yes yes"

    @staticmethod
    def hides(sample: Sample, probe: str = "original") -> str:
        """Like the oracle when asked as in training, like θ0 when asked otherwise."""
        return World.oracle(sample) if probe == "original" else World.original(sample, probe)


def build_world(*, forgotten: int = 6, retained: int = 8, holdout: int = 6) -> World:
    samples = [one for n in range(forgotten) for one in patient(Subset.FORGET_PRIVACY, n)]
    samples += [one for n in range(retained) for one in patient(Subset.RETAIN, n)]
    samples += [one for n in range(holdout) for one in patient(Subset.HOLDOUT, n)]
    samples += [wrong_fact(n, Stratum.WRONG_IMAGE) for n in range(8)]
    samples += [wrong_fact(n, Stratum.WRONG_TEXT) for n in range(4)]
    samples += [wrong_fact(n, Stratum.WRONG_UNSEEN, Subset.TEST) for n in range(4)]
    samples += [ordinary(n, Subset.RETAIN, Stratum.GENERAL) for n in range(60)]
    samples += [ordinary(n, Subset.RETAIN, Stratum.SIBLING) for n in range(9)]
    samples += [ordinary(n, Subset.RETAIN, Stratum.TRUE_TEXT) for n in range(6)]
    samples += [ordinary(n, Subset.TEST, Stratum.GENERAL) for n in range(48)]
    return World(samples)


@pytest.fixture(scope="session")
def world() -> World:
    return build_world()
