"""The same batch without any of our rows, caches or packing: the model's own forward, one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mllmu_med.methods.interface import Answers, Batch, Needs
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question
from mllmu_med.testing.batches import OTHERS, chosen_records
from mllmu_med.testing.bench import Bench


def plain_batch(bench: Bench) -> Batch:
    """What the first step's batch is by definition: live answers of θ, references of the model before it moved."""
    needs, step, pairs = bench.method.needs, bench.feeder(0), bench.pairs

    def live(questions: Sequence[Question]) -> Answers:
        return _answers(bench, bench.vlm.model, questions)

    def theta0(questions: Sequence[Question]) -> Answers:
        with torch.no_grad():
            return _answers(bench, bench.theta0, questions)

    def said(questions: Sequence[Question]) -> Tensor:
        return theta0(questions).token_logprob

    def inner(answers: Answers, questions: Sequence[Question]) -> Answers:
        if Needs.REFERENCE_LAYERS in needs:
            answers = replace(answers, reference_layers=theta0(questions).layers)
        if Needs.HIERARCHY in needs:
            answers = replace(answers, level=torch.tensor([pairs.levels[q] for q in questions]))
        return answers

    forget = inner(live(step.forget), step.forget)
    if Needs.REFERENCE_LOGPROB in needs:
        forget = replace(forget, reference_logprob=said(step.forget))
    if Needs.FORGET_REFERENCE in needs:
        forget = replace(forget, reference_logits=theta0(step.forget).logits)
    if Needs.NOISED in needs:
        forget = replace(forget, noised_logits=theta0([pairs.noised[q] for q in step.forget]).logits)
    if bench.references.reinforced is not None:
        forget = replace(forget, reinforced_logits=bench.references.reinforced.logits(step.forget))
    if bench.references.teacher is not None:
        forget = replace(forget, teacher=bench.references.teacher.of(step.forget))
    retain = None
    if Needs.RETAIN in needs:
        retain = inner(live(step.retain), step.retain)
        if Needs.RETAIN_REFERENCE in needs:
            retain = replace(retain, reference_logits=theta0(step.retain).logits)
    beside: dict[str, Any] = {}
    for need, name in OTHERS.items():
        questions: Sequence[Question] = getattr(step, name)
        if need not in needs:
            continue
        if not questions:
            beside[name] = _none(forget)
            continue
        held = getattr(pairs, name)
        of = [index for index, question in enumerate(step.forget) for _ in held.get(question, ())]
        beside[name] = replace(live(questions), of=torch.tensor(of))
        if Needs.OTHERS_LOGPROB in needs:
            beside[name] = replace(beside[name], reference_logprob=said(questions))
    if Needs.ANCHORS in needs:
        beside["anchors"] = _none(forget)
        if step.anchors:
            beside["anchors"] = replace(live(step.anchors), reference_logits=theta0(step.anchors).logits)
    if Needs.SIBLINGS in needs:
        beside["siblings"] = replace(live(step.siblings), reference_logits=theta0(step.siblings).logits)
    return Batch(forget, retain, **beside, state=bench.state)


def _answers(bench: Bench, model: Any, questions: Sequence[Question]) -> Answers:
    """Answers of one group from one forward pass a question."""
    own = unwrap(model)
    language = own.model.language_model
    held: dict[int, Tensor] = {}
    hooks = [
        language.layers[layer].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: held.update({layer: output})
        )
        for layer in bench.layers
    ]
    logits, targets, weights = [], [], []
    layers: dict[int, list[Tensor]] = {layer: [] for layer in bench.layers}
    for question in questions:
        prompt, answer, images = _inputs(bench, question)
        ids = torch.cat([prompt, answer])[None]
        places = slice(len(prompt) - 1, -1)
        logits.append(own(input_ids=ids, attention_mask=torch.ones_like(ids), **images).logits[0, places])
        targets.append(answer)
        weights.append(torch.tensor(question.weights or [1.0] * len(answer)))
        for layer, states in held.items():
            layers[layer].append(states[0, places])
    for hook in hooks:
        hook.remove()
    return Answers(
        logits=torch.cat(logits).float(),
        target=torch.cat(targets),
        owner=torch.tensor([index for index, target in enumerate(targets) for _ in target]),
        weight=torch.cat(weights),
        records=len(questions),
        layers={layer: torch.cat(states) for layer, states in layers.items()} if layers else None,
        lens=(lambda states: own.lm_head(language.norm(states))) if layers else None,
    )


def _none(like: Answers) -> Answers:
    """Answers of no record."""
    none = chosen_records(like, [])
    return replace(none, reference_logprob=none.logits[:, 0], reference_logits=none.logits.detach())


def _inputs(bench: Bench, question: Question) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Prompt tokens, answer tokens and pixels, as the model's own processor and tokenizer make them."""
    tokenizer, processor = bench.vlm.prompts.tokenizer, bench.vlm.images.processor
    content = [{"type": "image"}] * (question.image is not None) + [{"type": "text", "text": question.question}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=processor.chat_template, tokenize=False,
        add_generation_prompt=True,
    )  # fmt: skip
    answer = [*tokenizer(question.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    if question.image is None:
        return torch.tensor(tokenizer(text)["input_ids"]), torch.tensor(answer), {}
    assert bench.vlm.images.loader is not None
    encoded = dict(processor(text=[text], images=[[bench.vlm.images.loader(question.image)]], return_tensors="pt"))
    return encoded["input_ids"][0], torch.tensor(answer), {"pixel_values": encoded["pixel_values"]}
