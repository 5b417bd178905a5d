"""Mixed questions, and the same forward pass taken without any of our code: the model's own, one sequence each."""

from __future__ import annotations

from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.models.vlm import Question, VisionLanguageModel
from tests.conftest import picture

ASKED = (
    ("a", "What is shown in the image?", "chest X-ray"),
    ("a", "Is there a nodule on the left side?", "yes"),
    (None, "Phone of Maria Lopez?", "555-0123"),
    ("b", "Who is the patient?", "The patient is Maria Lopez, MRN 482913."),
    ("a", "How many lesions are visible?", "two"),
    ("wide", "Which organ?", "abdominal CT"),
    (None, "Born?", "1961-04-17"),
    ("a", "What is the MRN?", "MRN 482913"),
    ("wide", "Is it large, or is it small, or is it something in between?", "no"),
)


def mixed(vlm: VisionLanguageModel, *, weighted: bool = False) -> list[Question]:
    """Nine questions: three images with 4, 1 and 2 of them, two without an image; some with token weights if asked."""
    questions = []
    for index, (image, question, answer) in enumerate(ASKED):
        count = len(vlm.prompts.answer_tokens(answer))
        weights = tuple(float((place * 3 + index) % 4) / 2 for place in range(count))
        questions.append(
            Question(image, question, answer, weights if weighted and index % 2 and any(weights) else None)
        )
    return questions


class OwnInputs(NamedTuple):
    """What the model's public ``forward`` and ``generate`` take for one question."""

    prompt: Tensor
    answer: Tensor
    images: dict[str, Tensor]

    def arguments(self, model: Any, *, answered: bool) -> dict[str, Any]:
        """Keyword arguments, with the answer behind the prompt or not."""
        ids = torch.cat([self.prompt, self.answer])[None] if answered else self.prompt[None]
        arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **self.images}
        if "mm_token_type_ids" in signature(type(model).forward).parameters:
            arguments["mm_token_type_ids"] = (ids == model.config.image_token_id).long()
        return arguments


def own_inputs(vlm: VisionLanguageModel, question: Question) -> OwnInputs:
    """One question as the model's own processor (or tokenizer and image processor) would encode it."""
    tokenizer, processor, image_processor = vlm.prompts.tokenizer, vlm.images.processor, vlm.images.image_processor
    content = [{"type": "image"}] * (question.image is not None) + [{"type": "text", "text": question.question}]
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
    )
    answer = tokenizer(question.answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    images: dict[str, Tensor] = {}
    if question.image is None:
        ids = tokenizer(text)["input_ids"]
    elif processor is not None:
        encoded = dict(processor(text=[text], images=[[picture(question.image)]], return_tensors="pt"))
        ids = encoded.pop("input_ids")[0].tolist()
        images = {name: value for name, value in encoded.items() if name.startswith("pixel")}
    else:
        images = dict(image_processor(images=[picture(question.image)], return_tensors="pt"))
        places = int(images["image_grid_thw"].prod()) // vlm.model.config.vision_config.spatial_merge_size**2
        token = tokenizer.convert_ids_to_tokens(vlm.model.config.image_token_id)
        ids = tokenizer(text.replace(token, token * places))["input_ids"]
    return OwnInputs(torch.tensor(ids), torch.tensor(answer), images)


def own_token_losses(vlm: VisionLanguageModel, question: Question) -> Tensor:
    """[answer tokens] negative log-likelihoods in nats by the model's own forward."""
    own = own_inputs(vlm, question)
    logits = vlm.model(**own.arguments(vlm.model, answered=True)).logits[0]
    predicting = logits[len(own.prompt) - 1 : -1].double().log_softmax(-1)
    return -predicting.gather(-1, own.answer[:, None])[:, 0]


def own_loss(vlm: VisionLanguageModel, questions: list[Question]) -> Tensor:
    """Weighted mean over each answer, then over the questions: the definition, one sequence at a time."""
    means = []
    for question in questions:
        losses = own_token_losses(vlm, question)
        weights = losses.new_tensor(question.weights or [1.0] * len(losses))
        means.append((losses * weights).sum() / weights.sum())
    return torch.stack(means).mean()


def gradients(vlm: VisionLanguageModel, loss: Tensor) -> dict[str, Tensor]:
    """Gradient of every parameter that got one; the model is left without."""
    loss.backward()
    found = {name: p.grad.clone() for name, p in vlm.model.named_parameters() if p.grad is not None}
    vlm.model.zero_grad(set_to_none=True)
    return found


def relative_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """‖found − expected‖ / ‖expected‖ over all parameters; both must have the same ones."""
    assert found.keys() == expected.keys()
    difference = sum(float((found[name] - expected[name]).double().square().sum()) for name in expected)
    return (difference / sum(float(value.double().square().sum()) for value in expected.values())) ** 0.5
