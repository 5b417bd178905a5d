"""Mixed questions, and the same forward pass taken without any of our code: the model's own, one sequence each."""

from __future__ import annotations

from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mllmu_med.models.images import each, together
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


PAIR = together("a", "wide")
ABOUT_PAIRS = (
    (PAIR, "What is shown in the image?", "chest X-ray"),
    (PAIR, "Which of them is larger?", "the second"),
    ("a", "Is there a nodule on the left side?", "yes"),
    (together("wide", "a"), "Which of them is larger?", "the first"),
    (PAIR, "How many lesions are visible?", "two"),
    (None, "Born?", "1961-04-17"),
)
"""Questions about two images together, in either order, among others."""


class OwnInputs(NamedTuple):
    """What the model's public ``forward`` and ``generate`` take for one question."""

    prompt: Tensor
    answer: Tensor
    images: dict[str, Tensor]

    def arguments(self, model: Any, *, answered: bool) -> dict[str, Any]:
        """Keyword arguments, with the answer behind the prompt or not."""
        ids = torch.cat([self.prompt, self.answer])[None] if answered else self.prompt[None]
        arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **self.images}
        taken = signature(type(model).forward).parameters
        image = (ids == model.config.image_token_id).long()
        if model.config.model_type == "paligemma":  # 0: what is asked, 1: what is answered
            arguments["token_type_ids"] = (torch.arange(ids.shape[1]) >= len(self.prompt)).long()[None]
        elif "mm_token_type_ids" in taken:
            arguments["mm_token_type_ids"] = image
        elif "token_type_ids" in taken:
            arguments["token_type_ids"] = image
        return arguments


def own_inputs(vlm: VisionLanguageModel, question: Question) -> OwnInputs:
    """One question as the model's own processor (or tokenizer and image processor) would encode it."""
    tokenizer, processor, image_processor = vlm.prompts.tokenizer, vlm.images.processor, vlm.images.image_processor
    config = vlm.model.config
    pictures = [picture(image) for image in each(question.image)]
    content = [{"type": "image"}] * len(pictures) + [{"type": "text", "text": question.question}]
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
    )
    answer = tokenizer(question.answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    images: dict[str, Tensor] = {}
    if not pictures:
        ids = tokenizer(text)["input_ids"]
    elif config.model_type == "paligemma":  # its processor writes the begin token and the line's end by itself
        encoded = dict(processor(text="<image>" * len(pictures) + question.question, images=[pictures]))
        ids, images = (
            encoded["input_ids"][0],
            {"pixel_values": torch.stack(list(map(torch.tensor, encoded["pixel_values"])))},
        )
    elif processor is not None:
        encoded = dict(processor(text=[text], images=[pictures], return_tensors="pt"))
        ids = encoded.pop("input_ids")[0].tolist()
        images = {name: value for name, value in encoded.items() if name.startswith(("pixel", "image"))}
    elif config.model_type == "internvl":
        images = dict(image_processor(images=pictures, return_tensors="pt", crop_to_patches=True))
        for tiles in images.pop("num_patches"):
            text = text.replace("<IMG_CONTEXT>\n", f"<img>{'<CONTEXT>' * int(tiles) * 4}</img>\n", 1)
        ids = tokenizer(text.replace("<CONTEXT>", "<IMG_CONTEXT>"))["input_ids"]
    else:
        images = dict(image_processor(images=pictures, return_tensors="pt"))
        token = tokenizer.convert_ids_to_tokens(config.image_token_id)
        merged = images["image_grid_thw"].prod(1) // config.vision_config.spatial_merge_size**2
        pieces = text.split(token)
        text = pieces[0] + "".join(token * int(n) + piece for n, piece in zip(merged, pieces[1:], strict=True))
        ids = tokenizer(text)["input_ids"]
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
