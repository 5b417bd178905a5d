"""Hidden states at the places that are needed, of any family, in any batch; and hooks that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mllmu_med.errors import DataError
from mllmu_med.inside.states import TokenStates, chunks, gathered, layer_states, replaced, token_states
from mllmu_med.inside.telling import Told
from mllmu_med.methods.guards.interface import Memory
from mllmu_med.methods.guards.steer import Steering
from mllmu_med.models.anatomy import anatomy, recorded_outputs
from mllmu_med.models.guarded import ActiveGuard
from mllmu_med.models.vlm import Question, VisionLanguageModel

Asking = Callable[[VisionLanguageModel], list[Told]]


def questions(vlm: VisionLanguageModel, asking: Asking) -> list[Question]:
    return [one.question for one in asking(vlm)]


def hooks(vlm: VisionLanguageModel) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in vlm.model.modules())


def test_states_are_those_behind_every_layer_where_telling_tokens_are_predicted(
    vlm: VisionLanguageModel, asking: Asking
) -> None:
    asked = questions(vlm, asking)
    states = token_states(vlm, asked, 4)
    layers = anatomy(vlm.model).layers
    assert len(states.layers) == len(layers)
    assert states.counts == tuple(int(sum(one.weights or ())) for one in asked)
    for place, question in enumerate(asked):
        rows, _ = vlm.rows([question], 1)
        with recorded_outputs(dict(enumerate(layers))) as held, torch.no_grad():
            _, layout = vlm.run(rows, vlm.layout(rows))
        tells = layout.weight > 0
        for layer in range(len(layers)):
            expected = held[layer][layout.row, layout.column][tells]
            torch.testing.assert_close(states.of(layer, [place]), expected, rtol=1e-4, atol=1e-5)
        assert states.targets([place]).tolist() == layout.target[tells].tolist()


def test_batch_size_and_packing_change_nothing(vlm: VisionLanguageModel, asking: Asking) -> None:
    asked = questions(vlm, asking)
    together, alone = token_states(vlm, asked, 64), token_states(vlm, asked, 1)
    vlm.packed = False
    plain = token_states(vlm, asked, 3)
    for other in (alone, plain):
        assert torch.equal(other.target, together.target)
        for mine, theirs in zip(together.layers, other.layers, strict=True):
            torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)


def test_a_layer_patched_with_its_own_states_gives_the_same_answer(vlm: VisionLanguageModel, asking: Asking) -> None:
    (chunk,) = chunks(vlm, questions(vlm, asking), 64)
    with torch.no_grad():
        plain, _ = vlm.run(chunk.rows, chunk.layout)
        own = layer_states(vlm, chunk)
        for layer, states in zip(anatomy(vlm.model).layers, own, strict=True):
            with replaced(layer, chunk.layout.row, chunk.layout.column, states):
                assert torch.equal(vlm.run(chunk.rows, chunk.layout)[0], plain)
            with replaced(layer, chunk.layout.row, chunk.layout.column, torch.zeros_like(states)):
                assert not torch.allclose(vlm.run(chunk.rows, chunk.layout)[0], plain)
        assert torch.equal(vlm.run(chunk.rows, chunk.layout)[0], plain), "the patch is gone after its block"


def test_questions_about_one_image_do_not_see_each_others_patches(vlm: VisionLanguageModel) -> None:
    """All samples of a packed batch are patched at once, which is only right if each sees its own patch alone."""
    first = Question("a", "What is the MRN?", "MRN 482913", (1.0,) * len(vlm.prompts.answer_tokens("MRN 482913")))
    second = first._replace(question="Which one is it, please?")
    (chunk,) = chunks(vlm, [first, second], 2)
    layout = chunk.layout
    of_first = layout.owner == 0
    with torch.no_grad():
        plain, _ = vlm.run(chunk.rows, layout)
        own = layer_states(vlm, chunk)[0]
        layer = anatomy(vlm.model).layers[0]
        with replaced(layer, layout.row[of_first], layout.column[of_first], 2 * own[of_first]):
            patched, _ = vlm.run(chunk.rows, layout)
    torch.testing.assert_close(patched[~of_first], plain[~of_first])
    assert not torch.allclose(patched[of_first], plain[of_first])


def test_hooks_are_removed_also_when_the_pass_fails(llava: VisionLanguageModel, asking: Asking) -> None:
    (chunk,) = chunks(llava, questions(llava, asking), 64)
    layer_states(llava, chunk)  # transformers has hooks of its own from the first pass on
    before = hooks(llava)
    layers = anatomy(llava.model).layers
    with pytest.raises(RuntimeError, match="half way"), gathered(layers, chunk.layout.row, chunk.layout.column):
        raise RuntimeError("half way")
    with (
        pytest.raises(RuntimeError, match="half way"),
        replaced(layers[0], *[torch.zeros(1, dtype=torch.long)] * 2, torch.zeros(1)),
    ):
        raise RuntimeError("half way")
    token_states(llava, questions(llava, asking), 4)
    assert hooks(llava) == before


def test_training_mode_is_as_before(llava: VisionLanguageModel, asking: Asking) -> None:
    llava.model.train()
    states = token_states(llava, questions(llava, asking), 4)
    assert llava.model.training
    assert not any(layer.requires_grad for layer in states.layers)


def test_a_guard_hides_nothing_of_what_the_weights_hold(llava: VisionLanguageModel, asking: Asking) -> None:
    asked = questions(llava, asking)
    plain = token_states(llava, asked, 4)
    size = plain.layers[0].shape[1]
    llava.guard = ActiveGuard(
        Steering(layer_index=0, strength=5.0, gated=False), Memory(tensors={"direction": torch.ones(size)}), 0
    )
    for mine, theirs in zip(plain.layers, token_states(llava, asked, 4).layers, strict=True):
        assert torch.equal(mine, theirs)


def test_stored_states_come_back_for_the_same_questions_only(
    llava: VisionLanguageModel, asking: Asking, tmp_path: Path
) -> None:
    asked = questions(llava, asking)
    states = token_states(llava, asked, 4)
    path = tmp_path / "states.safetensors"
    states.write(path, asked)
    back = TokenStates.read(path, asked)
    assert back.counts == states.counts
    assert torch.equal(back.target, states.target)
    assert all(torch.equal(a, b) for a, b in zip(back.layers, states.layers, strict=True))
    first = path.read_bytes()
    states.write(path, asked)
    assert path.read_bytes() == first
    with pytest.raises(DataError, match="other questions"):
        TokenStates.read(path, asked[::-1])


def test_more_than_ten_layers_keep_their_order(tmp_path: Path) -> None:
    layers = tuple(torch.full((2, 3), float(number)) for number in range(12))
    path = tmp_path / "states.safetensors"
    TokenStates(layers, torch.tensor([4, 5]), (1, 1)).write(path, [])
    assert [float(layer[0, 0]) for layer in TokenStates.read(path, []).layers] == [float(n) for n in range(12)]


def test_states_are_kept_in_the_models_own_precision(llava: VisionLanguageModel, asking: Asking) -> None:
    llava.model.to(torch.bfloat16)
    states = token_states(llava, questions(llava, asking), 4)
    assert {layer.dtype for layer in states.layers} == {torch.bfloat16}
