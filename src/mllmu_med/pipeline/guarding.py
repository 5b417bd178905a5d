"""The stage that prepares a guard: θ0 is asked, and nothing of it is changed or written again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mllmu_med.benchmark.sample import Sample, Subset
from mllmu_med.memory import peak_memory_mb
from mllmu_med.methods.guards.interface import Guard, Known
from mllmu_med.methods.interface import ModelFacts
from mllmu_med.models.anatomy import model_facts
from mllmu_med.models.groups import count_groups, log_groups
from mllmu_med.models.guard_store import save_guard
from mllmu_med.models.guarded import PromptKey, embedded_rows, prompt_states
from mllmu_med.models.rows import chunk_rows
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.pipeline.sequence import RequestWorkshop
from mllmu_med.pipeline.stage import Facts
from mllmu_med.pipeline.workshop import training_facts
from mllmu_med.recipe import MethodSettings
from mllmu_med.seeding import rng
from mllmu_med.training.examples import span_weights
from mllmu_med.training.feeding import REFUSALS, usable_retain
from mllmu_med.training.loop import TrainingLog

PARENT = "theta0"
_MEASURED = 256  # questions from which the scale of the embeddings is taken
_PASS = 64  # branches in one forward pass


def make_guarded(workshop: RequestWorkshop, method: Guard, settings: MethodSettings, key: str, folder: Path) -> Facts:
    """θ0 behind a guard. What is written are the guard's own numbers; the weights stay where they are.

    Of several deletion requests each has a guard of its own on θ0, which covers the earlier requests as well.
    """
    vlm = workshop.load(workshop.output / "models" / PARENT, as_trained=True)
    began = time.perf_counter()
    seed = workshop.seed
    gone = workshop.gone
    forget = [sample for sample in workshop.every_sample if sample.id in gone]
    retain = usable_retain(workshop.subset(Subset.RETAIN), settings.retain_share, seed)
    desk = GuardedModel(vlm, forget, retain, settings.phrasings, seed)
    memory = method.prepare(desk)
    save_guard(folder, settings.name, method, memory, parent=PARENT, seed=seed)
    counts = [replace(count, mode="frozen", trainable=0) for count in count_groups(vlm, {})]
    log_groups(counts)
    log = TrainingLog(seconds=time.perf_counter() - began, peak_memory_mb=peak_memory_mb(vlm.device))
    return {**training_facts(log, counts, desk.asked, vlm), "guard": dict(memory.numbers)}


class GuardedModel:
    """θ0 and its records as a guard is prepared at them (:class:`~mllmu_med.methods.guards.interface.GuardDesk`).

    Args:
        vlm: θ0; its weights are only read.
        phrasings: most further wordings of each forget record that are known; None = all.
        seed: of refusals, and of what the guard draws.

    Attributes:
        asked: questions that went through the model so far.
    """

    def __init__(
        self, vlm: VisionLanguageModel, forget: Sequence[Sample], retain: Sequence[Sample], phrasings: int | None,
        seed: int,
    ) -> None:  # fmt: skip
        self.vlm, self.seed, self.asked = vlm, seed, 0
        self.model: ModelFacts = model_facts(vlm)
        self.control_tokens = frozenset(vlm.prompts.tokenizer.all_special_ids) | {
            vlm.prompts.end_token_id, vlm.prompts.image_token_id,
            *(index for index, token in vlm.prompts.tokenizer.added_tokens_decoder.items() if token.special),
        }  # fmt: skip
        self.forget: Sequence[Known] = [self._forgotten(sample, phrasings) for sample in forget]
        self.retain: Sequence[Known] = [self._retained(sample) for sample in retain]
        self._samples = forget

    def prompts(self, group: str, layer: int, pooling: str) -> Tensor:
        """See :class:`~mllmu_med.methods.guards.interface.GuardDesk`."""
        found: list[PromptKey] = [
            (record.image, self.vlm.prompts.branch_tokens(wording, record.image is not None))
            for record in {"forget": self.forget, "retain": self.retain}[group]
            for wording in record.wordings
        ]
        self.asked += len(found)
        return prompt_states(self.vlm, found, layer, pooling)

    def taught(self) -> list[Question]:
        """The forget questions in all wordings, with what θ0 was taught to say; only private spans have weight."""
        return [
            Question(record.image, wording, sample.answer, span_weights(self.vlm.prompts, sample))
            for sample, record in zip(self._samples, self.forget, strict=True)
            for wording in record.wordings
        ]

    def refused(self) -> list[Question]:
        """The same questions, with a refusal that is drawn for each."""
        made = []
        for sample, record in zip(self._samples, self.forget, strict=True):
            draw, texts = rng(self.seed, "refusals", sample.id), REFUSALS.get(sample.language, REFUSALS["en"])
            made += [Question(record.image, wording, draw.choice(texts)) for wording in record.wordings]
        return made

    @torch.no_grad()
    def answers(self, group: str, layer: int) -> Tensor:
        """See :class:`~mllmu_med.methods.guards.interface.GuardDesk`; of answers with private spans only these."""
        questions = {"forget": self.taught, "refusals": self.refused}[group]()
        self.asked += len(questions)
        parts = []
        for rows in chunk_rows(self.vlm.rows(questions, 8)[0], _PASS):
            _, inner, layout = self.vlm.hidden_layers(rows, (layer,))
            parts.append(inner[layer][layout.weight > 0].float())
        return torch.cat(parts)

    @torch.no_grad()
    def embedding_scale(self) -> float:
        """See :class:`~mllmu_med.methods.guards.interface.GuardDesk`."""
        records = (self.retain or self.forget)[:_MEASURED]
        questions = [Question(record.image, record.wordings[0], "") for record in records]
        self.asked += len(questions)
        squares = torch.zeros((), dtype=torch.float64, device=self.vlm.device)
        count = 0
        for rows in chunk_rows(self.vlm.rows(questions, 8)[0], _PASS):
            vectors, layout = embedded_rows(self.vlm, rows)
            vectors = vectors[layout.segment > 0].double()
            squares, count = squares + vectors.square().sum(), count + vectors.numel()
        return float((squares / count).sqrt())

    def _forgotten(self, sample: Sample, phrasings: int | None) -> Known:
        values = tuple(dict.fromkeys(span.value for span in sample.spans)) or (sample.wrong_answer or sample.answer,)
        truth = sample.correct_answer or sample.clean_answer
        weights = span_weights(self.vlm.prompts, sample)
        answer = self.vlm.prompts.answer_tokens(sample.answer)[:-1]
        tokens = list(answer if weights is None else (t for t, w in zip(answer, weights, strict=False) if w))
        for value in values:  # a value may be cut otherwise where it begins an answer
            tokens += [*self._tokens(value), *self._tokens(f" {value}")]
        return Known(
            sample.image_id, (sample.question, *sample.phrasings[:phrasings]), sample.answer, sample.cluster,
            tuple(tokens), values, truth, () if truth is None else self._tokens(truth),
        )  # fmt: skip

    def _retained(self, sample: Sample) -> Known:
        wordings = (sample.question, *sample.phrasings)
        return Known(sample.image_id, wordings, sample.answer, sample.cluster, self._tokens(sample.answer))

    def _tokens(self, text: str) -> tuple[int, ...]:
        return self.vlm.prompts.answer_tokens(text)[:-1]
