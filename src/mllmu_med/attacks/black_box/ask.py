"""Carry out a black-box attack through any engine."""

from __future__ import annotations

from mllmu_med.attacks.interface import Asking, Attempt, Data, Query
from mllmu_med.benchmark.sample import Sample
from mllmu_med.engines.interface import Engine
from mllmu_med.models.generation import Prompt
from mllmu_med.progress import bar


def ask(name: str, attack: Asking, engine: Engine, data: Data, *, title: str = "attack") -> list[Attempt]:
    """Ask every question of the attack about every target.

    Equal questions are asked once. All greedy ones go to the engine in one call, and all those with the same number of
    draws in another; the sampled answers of a question are the candidates of one attempt, in the order of their draws.

    Args:
        name: the attack's registry name.
        title: of the progress bar.

    Returns:
        one attempt a query, in the order of the targets and of the attack's queries.

    Raises:
        ValueError: the attack uses one name for two variants of a sample.
    """
    asked = [(sample, query) for sample in data.targets for query in attack.queries(sample, data)]
    _refuse_namesakes(name, asked)
    by_draws: dict[int, dict[Prompt, None]] = {}
    for _, query in asked:
        by_draws.setdefault(query.draws, {})[Prompt(query.image, query.question)] = None
    said: dict[tuple[int, Prompt], tuple[str, ...]] = {}
    with bar(title, sum(map(len, by_draws.values()))) as progress:
        for draws, prompts in by_draws.items():
            if draws:
                found = engine.samples(
                    list(prompts), draws=draws, temperature=attack.temperature, max_new_tokens=data.max_new_tokens,
                    seed=data.seed, progress=progress,
                )  # fmt: skip
                said.update(((draws, prompt), tuple(texts)) for prompt, texts in zip(prompts, found, strict=True))
            else:
                answers = engine.answers(list(prompts), max_new_tokens=data.max_new_tokens, progress=progress)
                said.update(((0, prompt), (answer.text,)) for prompt, answer in zip(prompts, answers, strict=True))
    return [
        Attempt(
            attack=name, variant=query.variant, sample_id=sample.id, question=query.question,
            candidates=said[query.draws, Prompt(query.image, query.question)],
        )
        for sample, query in asked
    ]  # fmt: skip


def _refuse_namesakes(name: str, asked: list[tuple[Sample, Query]]) -> None:
    seen: set[tuple[str, str]] = set()
    for sample, query in asked:
        key = sample.id, query.variant
        if key in seen:
            raise ValueError(f"attack '{name}' has two variants '{query.variant}' of sample {sample.id}")
        seen.add(key)
