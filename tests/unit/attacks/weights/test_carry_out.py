"""Carrying out an attack on weights: who is asked what, and that the model comes back however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from mllmu_med.attacks.interface import Data, Subject, Tampering
from mllmu_med.attacks.weights.carry_out import tamper
from mllmu_med.engines.in_process import InProcess
from mllmu_med.errors import MedError, UsageError
from mllmu_med.models.generation import Prompt
from mllmu_med.models.groups import group_of
from mllmu_med.models.vlm import VisionLanguageModel
from tests.unit.attacks.weights.helpers_weights import DATA, everything, subject


@dataclass(frozen=True)
class Noise(Tampering):
    """Adds to the language model's weights, step by step."""

    label: ClassVar = "noise"
    source: ClassVar = "ours"
    summary: ClassVar = "noise"
    cost: ClassVar = "1 answer"
    touches: ClassVar = ("language",)

    names: tuple[str, ...] = ("some", "more")
    fail: type[BaseException] | None = None
    budget: int = 1

    def spent(self, data: Data) -> frozenset[str]:
        return frozenset({"f1"})

    def tampered(self, subject: Subject) -> Iterator[str]:
        subject.notes["steps"] = len(self.names)
        for name in self.names:
            with torch.no_grad():
                for place, parameter in subject.vlm.model.named_parameters():
                    if group_of(place) == "language" and parameter.dim() == 2:
                        parameter.add_(0.2)
            yield name
            if self.fail is not None:
                raise self.fail("broken off")


def answers(vlm: VisionLanguageModel) -> list[str]:
    prompts = [Prompt(s.image_id, s.question) for s in (*DATA.targets, *DATA.bystanders)]
    return [answer.text for answer in InProcess(vlm, 8).answers(prompts, max_new_tokens=4)]


def test_targets_and_bystanders_are_asked_at_every_step(llava: VisionLanguageModel) -> None:
    before, said = everything(llava), answers(llava)
    one = subject(llava)
    attempts = tamper("noise", Noise(), one)
    asked = [sample for sample in (*DATA.targets, *DATA.bystanders) if sample.id != "f1"]
    assert [(a.variant, a.sample_id, a.question) for a in attempts] == [
        (variant, sample.id, sample.question) for variant in ("some", "more") for sample in asked
    ], "the target that was given is not asked"
    assert all(a.attack == "noise" and len(a.candidates) == 1 and a.rank is None for a in attempts)
    assert {a.sample_id for a in attempts} >= {"t0", "t1", "r5"}
    given = {s.id: text for s, text in zip((*DATA.targets, *DATA.bystanders), said, strict=True)}
    assert [a.candidates[0] for a in attempts[: len(asked)]] != [given[s.id] for s in asked], "the model is another"
    assert everything(llava) == before
    assert answers(llava) == said
    sizes = [
        tensor.nbytes
        for name, tensor in (*llava.model.named_parameters(), *llava.model.named_buffers())
        if group_of(name) == "language"
    ]
    assert one.notes == {"noise": {"copied_bytes": sum(sizes), "targets_given": 1, "steps": 2}}
    assert attempts == tamper("noise", Noise(), one), "the same model serves the next attack"


def test_answers_are_those_of_the_model_as_it_stands(llava: VisionLanguageModel) -> None:
    attempts = tamper("noise", Noise(names=("some",)), subject(llava))
    with torch.no_grad():
        for place, parameter in llava.model.named_parameters():
            if group_of(place) == "language" and parameter.dim() == 2:
                parameter.add_(0.2)
    said = dict(zip([s.id for s in (*DATA.targets, *DATA.bystanders)], answers(llava), strict=True))
    assert {a.sample_id: a.candidates[0] for a in attempts} == {k: v for k, v in said.items() if k != "f1"}


@pytest.mark.parametrize("fail", [RuntimeError, KeyboardInterrupt, MedError])
def test_an_attack_that_breaks_off_leaves_the_model_whole(
    fail: type[BaseException], llava: VisionLanguageModel
) -> None:
    before = everything(llava)
    with pytest.raises(fail, match="broken off"):
        tamper("noise", Noise(fail=fail), subject(llava))
    assert everything(llava) == before


def test_an_interruption_while_asking_ends_the_attack_first(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = everything(llava), list[bool]()

    @dataclass(frozen=True)
    class Careful(Noise):
        def tampered(self, subject: Subject) -> Iterator[str]:
            try:
                yield from super().tampered(subject)
            finally:
                seen.append(everything(llava) != before)

    def stop(*arguments: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(InProcess, "answers", stop)
    with pytest.raises(KeyboardInterrupt):
        tamper("noise", Careful(), subject(llava))
    assert seen == [True], "the attack put its own things away while its changes still stood"
    assert everything(llava) == before


def test_two_steps_of_one_name_are_refused(llava: VisionLanguageModel) -> None:
    before = everything(llava)
    with pytest.raises(UsageError, match="calls two of its steps 'some'"):
        tamper("noise", Noise(names=("some", "some")), subject(llava))
    assert everything(llava) == before
