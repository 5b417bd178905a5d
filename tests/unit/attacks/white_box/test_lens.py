"""The lens by hand on a model that says what a table says, and against the model's own output for every family."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mllmu_med.attacks.white_box import lens
from mllmu_med.attacks.white_box.lens import LensView, all_layers, kept_view, lens_view
from mllmu_med.engines.likelihoods import likelihoods
from mllmu_med.inside.states import chunks
from mllmu_med.models.anatomy import anatomy
from mllmu_med.models.network import unwrap
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.testing.pictures import picture
from tests.unit.attacks.white_box.known_model import KnownModel

# Over <end>, ask, alpha, beta, gamma, delta.
ENTERS = (0.04, 0.01, 0.20, 0.25, 0.30, 0.20)
MIDDLE = (0.02, 0.03, 0.60, 0.20, 0.10, 0.05)
OUTPUT = (0.05, 0.01, 0.04, 0.50, 0.15, 0.25)
ALPHA, BETA, GAMMA, DELTA = 2, 3, 4, 5

QUESTIONS = [
    Question("a", "Who is it?", "The patient is Maria Lopez"), Question("b", "Is there a nodule?", "no"),
    Question(None, "Born when?", "1961-04-17"), Question("a", "What is shown?", "chest X-ray"),
]  # fmt: skip


def view(vlm: KnownModel, budget: int, answers: tuple[str, ...] = ("alpha",), batch: int = 8) -> LensView:
    questions = [Question(None, "ask", answer) for answer in answers]
    return lens_view(vlm, questions, first=[0], budget=budget, batch=batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("order", "budget", "tokens"),
    [
        # The output's best, the middle layer's best, then their seconds: delta after beta, beta again after alpha.
        (0, 1, [BETA]),
        (0, 2, [BETA, ALPHA]),
        (0, 3, [BETA, ALPHA, DELTA]),
        (0, 4, [BETA, ALPHA, DELTA, GAMMA]),
        # output − middle: beta +.30, delta +.20, gamma +.05 … alpha −.56; middle − enters: alpha +.40 … gamma −.20
        (1, 1, [BETA]),
        (1, 2, [BETA, ALPHA]),
        (1, 3, [BETA, ALPHA, GAMMA]),
        # output − 2 middle + enters: delta +.35, beta +.35, gamma +.25, end +.05 … alpha −.96
        (2, 4, {0, 1}),
    ],
)
def test_candidates_for_the_first_token_by_hand(
    order: int, budget: int, tokens: list[int] | set[int], named: bool
) -> None:
    found = view(KnownModel(ENTERS, MIDDLE, OUTPUT, named=named), budget).tokens[0, order]
    if order < 2:
        assert found == tokens
    else:  # beta and delta are equal but for rounding; then both ends take turns
        assert found[0] in (BETA, DELTA)
        assert found[1] == ALPHA
        assert found[2] in (BETA, DELTA)
        assert found[3] == 1  # ask: −.06 + .01 + .01, the second from the bottom


def test_what_enters_the_first_layer_is_no_candidate_of_its_own() -> None:
    assert GAMMA not in view(KnownModel(ENTERS, MIDDLE, OUTPUT), 3).tokens[0, 0]


def test_scores_of_whole_answers_by_hand() -> None:
    found = view(KnownModel(ENTERS, MIDDLE, OUTPUT), 3, ("alpha", "beta gamma", "delta"))
    expected = [
        [math.log(table[ALPHA] * table[0]), math.log(table[BETA] * table[GAMMA] * table[0]),
         math.log(table[DELTA] * table[0])]
        for table in (ENTERS, MIDDLE, OUTPUT)
    ]  # fmt: skip
    assert found.scores.dtype == torch.float64
    assert found.lengths.tolist() == [2, 3, 2]
    torch.testing.assert_close(found.scores, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_one_pass_a_batch_shows_all_layers() -> None:
    vlm = KnownModel(ENTERS, MIDDLE, OUTPUT)
    view(vlm, 3, ("alpha", "beta", "gamma", "delta", "beta beta"), batch=2)
    assert vlm.passes == 3


def test_broken_distributions_give_candidates_that_are_tokens() -> None:
    nothing = (math.nan,) * 6
    tokens = view(KnownModel(ENTERS, MIDDLE, nothing), 4).tokens[0, 0]
    assert len(tokens) == 4 == len(set(tokens))
    assert ALPHA in tokens  # a NaN layer takes its turns and hides no other layer


def test_the_last_layer_shows_what_the_model_says(vlm: VisionLanguageModel) -> None:
    (chunk,) = chunks(vlm, QUESTIONS, 8)
    with torch.no_grad():
        states = all_layers(vlm, chunk)
        hidden, layout = vlm.hidden(chunk.rows)
        own = vlm.logits(hidden)
        torch.testing.assert_close(vlm.lens(states[-1]), own)
        entering = unwrap(vlm.model).get_input_embeddings()(layout.input_ids)[layout.row, layout.column]
    torch.testing.assert_close(states[0], entering)
    assert len(states) == 1 + len(anatomy(vlm.model).layers)

    found = lens_view(vlm, QUESTIONS, first=range(4), budget=5, batch=2)
    said = [sum(one.logprobs) for one in likelihoods(vlm, QUESTIONS, batch=8)]
    torch.testing.assert_close(found.scores[-1], torch.tensor(said, dtype=torch.float64), rtol=0, atol=1e-3)
    assert found.lengths.tolist() == [len(vlm.prompts.answer_tokens(question.answer)) for question in QUESTIONS]
    owners = layout.owner.tolist()
    for branch, place in enumerate(chunk.order):
        best = own[owners.index(branch)].argmax().item()
        assert found.tokens[place, 0][0] == best  # the latest layer's turn is the first


def test_the_last_layers_candidates_are_the_models_own_next_tokens(
    vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all other layers saying the same, nothing but the output's order is left."""
    (chunk,) = chunks(vlm, QUESTIONS[:1], 1)
    with torch.no_grad():
        own = vlm.logits(vlm.hidden(chunk.rows)[0])[0].topk(7).indices.tolist()
    count = 1 + len(anatomy(vlm.model).layers)
    monkeypatch.setattr(lens, "all_layers", lambda vlm, chunk: [all_layers(vlm, chunk)[-1]] * count)
    assert lens_view(vlm, QUESTIONS[:1], first=[0], budget=7, batch=1).tokens[0, 0] == own


def test_neither_batch_nor_packing_changes_the_view(vlm: VisionLanguageModel) -> None:
    first = [0, 2]
    together = lens_view(vlm, QUESTIONS, first=first, budget=6, batch=8)
    vlm.packed = False
    alone = lens_view(vlm, QUESTIONS, first=first, budget=6, batch=1)
    torch.testing.assert_close(together.scores, alone.scores, rtol=0, atol=1e-3)
    assert together.tokens.keys() == alone.tokens.keys() == {(place, order) for place in first for order in range(3)}
    for place in together.tokens:
        assert together.tokens[place][:3] == alone.tokens[place][:3]


def test_a_view_is_kept_until_anything_changes(llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def counted(*arguments: Any, **named: Any) -> LensView:
        looked.append(1)
        return lens_view(*arguments, **named)

    monkeypatch.setattr(lens, "lens_view", counted)

    def looks(questions: list[Question] = QUESTIONS, **named: Any) -> int:
        looked.clear()
        kept_view(llava, questions, **{"first": [0], "budget": 3, "batch": 4, **named})
        return len(looked)

    assert (looks(), looks()) == (1, 0)
    assert (looks(budget=4), looks(budget=4)) == (1, 0)
    assert (looks(), looks(first=[1]), looks(QUESTIONS[:2]), looks(batch=2), looks(), looks()) == (1, 1, 1, 1, 1, 0)
    weights = unwrap(llava.model).get_output_embeddings().weight
    weights.data[0, 0] += 1  # unseen by version counters
    assert (looks(), looks()) == (1, 0)
    llava.attach_images(lambda image_id: picture(f"other {image_id}"))
    assert (looks(), looks()) == (1, 0)
    handle = anatomy(llava.model).layers[0].register_forward_hook(lambda *of_pass: None)
    assert (looks(), looks()) == (1, 1)  # what cannot be compared is never kept
    handle.remove()


def test_the_training_mode_is_as_before(llava: VisionLanguageModel) -> None:
    for mode in (True, False):
        llava.model.train(mode)
        lens_view(llava, QUESTIONS[:1], first=[], budget=1, batch=1)
        assert llava.model.training is mode
