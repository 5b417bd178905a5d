"""What θ0 said stays what it said, while the model trains on."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mllmu_med.models import references
from mllmu_med.models.groups import Lora, set_trainable
from mllmu_med.models.references import ReferenceCache
from mllmu_med.models.vlm import Question, VisionLanguageModel
from mllmu_med.training.learn import LearnSettings, learn
from mllmu_med.training.settings import LoopSettings
from tests.invariant.cases import mixed, own_inputs

Load = Callable[[str], VisionLanguageModel]


def own_logits(vlm: VisionLanguageModel, question: Question) -> torch.Tensor:
    """[answer tokens, V] by the model's own forward."""
    own = own_inputs(vlm, question)
    with torch.no_grad():
        logits = vlm.model(**own.arguments(vlm.model, answered=True)).logits
    return logits[0, len(own.prompt) - 1 : -1]


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_references_are_those_of_theta0_after_any_number_of_steps(mode: str, vlm: VisionLanguageModel) -> None:
    questions = mixed(vlm)
    theta0 = [own_logits(vlm, question) for question in questions]
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4, dropout=0.2))
    cache = ReferenceCache(vlm, batch=4, branches=3)
    cache.fill(questions, hidden=True)
    learn(vlm, questions, LoopSettings(4, 1e-2, warmup=0), LearnSettings(batch=9), seed=0)
    vlm.model.train()

    order = [questions[i] for i in (3, 0, 8, 5)]
    expected = torch.cat([theta0[i] for i in (3, 0, 8, 5)])
    torch.testing.assert_close(cache.logits(order), expected, rtol=1e-4, atol=1e-4)
    target = torch.cat([own_inputs(vlm, question).answer for question in order])
    of_target = expected.log_softmax(-1).gather(-1, target[:, None])[:, 0]
    torch.testing.assert_close(cache.logprob(order), of_target, rtol=1e-4, atol=1e-4)
    rows, _ = vlm.rows(order, 1)
    with torch.no_grad():
        now = vlm.logits(vlm.hidden(rows)[0])
    assert float((now - expected).abs().max()) > 0.1, "the model itself has moved"


def test_with_adapters_theta0_can_be_asked_at_any_time(llava: VisionLanguageModel) -> None:
    """A stage that resumes fills its cache when the adapters already hold something."""
    questions = mixed(llava)
    set_trainable(llava, {"language": "lora"}, Lora(rank=2, alpha=4))
    early, late = ReferenceCache(llava), ReferenceCache(llava)
    early.fill(questions, hidden=True)
    learn(llava, questions, LoopSettings(4, 1e-2, warmup=0), LearnSettings(batch=9), seed=0)
    late.fill(questions, hidden=True)
    torch.testing.assert_close(late.logprob(questions), early.logprob(questions), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(late.logits(questions), early.logits(questions), rtol=1e-5, atol=1e-5)


def test_a_head_that_trains_beside_adapters_is_remembered_too(llava: VisionLanguageModel) -> None:
    """Adapters in the vision tower only: turning them off does not bring the language model's own weights back."""
    questions = mixed(llava)
    theta0 = torch.cat([own_logits(llava, question) for question in questions])
    set_trainable(llava, {"language": "full", "vision": "lora"}, Lora(rank=2, alpha=4))
    cache = ReferenceCache(llava)
    cache.fill(questions, hidden=True)
    learn(llava, questions, LoopSettings(4, 1e-2, warmup=0), LearnSettings(batch=9), seed=0)
    torch.testing.assert_close(cache.logits(questions), theta0, rtol=1e-4, atol=1e-4)


def test_references_carry_no_gradient(llava: VisionLanguageModel) -> None:
    set_trainable(llava, {"language": "full"})
    cache = ReferenceCache(llava)
    cache.fill(mixed(llava), hidden=True)
    assert not cache.logprob(mixed(llava)).requires_grad
    assert not cache.logits(mixed(llava)).requires_grad


def test_each_question_is_computed_once(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    seen: list[int] = []
    llava.model.base_model.register_forward_pre_hook(lambda *_: seen.append(1))
    cache = ReferenceCache(llava)
    cache.fill(questions * 3, hidden=False)
    passes = len(seen)
    cache.fill(questions[:4], hidden=False)
    assert len(seen) == passes
    cache.fill(questions[:4], hidden=True)
    assert len(seen) == passes + 1, "hidden states were not kept the first time"
    assert len(cache.logprob(questions[:1])) == len(llava.prompts.answer_tokens(questions[0].answer))


def test_filling_leaves_the_mode_of_the_model(llava: VisionLanguageModel) -> None:
    for training in (True, False):
        llava.model.train(training)
        ReferenceCache(llava).fill(mixed(llava), hidden=False)
        assert llava.model.training is training


def test_a_batch_of_any_size_gives_the_same_references(llava: VisionLanguageModel) -> None:
    questions = mixed(llava)
    found = []
    for batch, branches in ((1, 1), (64, 8), (3, 2)):
        cache = ReferenceCache(llava, batch=batch, branches=branches)
        cache.fill(questions, hidden=False)
        found.append(cache.logprob(questions))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=1e-5)


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLLMU_MED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Questions of every forward pass that is computed."""
    found: list[int] = []
    compute = ReferenceCache._compute

    def note(self: ReferenceCache, one: Any, *rest: Any) -> None:
        found.append(len(one.questions))
        compute(self, one, *rest)

    monkeypatch.setattr(ReferenceCache, "_compute", note)
    return found


def kept_model(load_tiny: Load, mode: str = "full", seed: int = 0) -> VisionLanguageModel:
    vlm = load_tiny("llava")
    vlm.kept = True
    set_trainable(vlm, {"language": mode}, Lora(rank=2, alpha=4), seed=seed)
    return vlm


def everything(cache: ReferenceCache, questions: list[Question]) -> list[torch.Tensor]:
    return [cache.logprob(questions), cache.logits(questions), cache.layer(questions, 1)]


def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def small_cache(vlm: VisionLanguageModel) -> ReferenceCache:
    return ReferenceCache(vlm, batch=4, branches=3)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_another_run_finds_them_on_the_disk_bit_by_bit(
    mode: str, load_tiny: Load, root: Path, passes: list[int]
) -> None:
    """Adapters of another seed, or that have learnt something, are beside the same θ0."""
    questions = mixed(load_tiny("llava"))
    plain = small_cache(load_tiny("llava"))
    set_trainable(plain.vlm, {"language": mode}, Lora(rank=2, alpha=4))
    plain.fill(questions, hidden=True, layers=[1])
    expected = everything(plain, questions)
    assert not root.exists(), "a model that is not kept leaves nothing"
    for turn in range(2):
        cache = small_cache(kept_model(load_tiny, mode, seed=turn))
        with torch.no_grad():
            for name, parameter in cache.vlm.model.named_parameters():
                if ".lora_" in name:
                    parameter.add_(0.1 * turn)
        passes.clear()
        cache.fill(questions, hidden=True, layers=[1])
        assert bool(passes) is (turn == 0)
        assert equal(everything(cache, questions), expected)


def test_what_is_there_of_a_pass_is_taken_and_the_rest_computed(load_tiny: Load, root: Path, passes: list[int]) -> None:
    questions = mixed(load_tiny("llava"))
    small_cache(kept_model(load_tiny)).fill(questions, hidden=True)
    passes.clear()
    only = small_cache(kept_model(load_tiny))
    only.fill(questions, hidden=False)
    assert passes == [], "log-probabilities are kept beside hidden states"
    more = small_cache(kept_model(load_tiny))
    more.fill(questions, hidden=True, layers=[1])
    assert sum(passes) == len(questions), "layers were not kept"
    torch.testing.assert_close(more.logprob(questions), only.logprob(questions), rtol=1e-5, atol=1e-6)


def test_a_pass_with_a_look_inside_is_another_one(load_tiny: Load, root: Path, passes: list[int]) -> None:
    """Looking into the last layer makes it work everywhere, which rounds otherwise."""
    questions = mixed(load_tiny("llava"))
    plain = small_cache(load_tiny("llava"))
    last = len(plain.vlm.model.base_model.language_model.layers) - 1
    plain.fill(questions, hidden=True)
    small_cache(kept_model(load_tiny)).fill(questions, hidden=True, layers=[last])
    passes.clear()
    warm = small_cache(kept_model(load_tiny))
    warm.fill(questions, hidden=True)
    assert passes
    assert equal([warm.logprob(questions)], [plain.logprob(questions)])


@pytest.mark.parametrize("change", ["weights", "answer", "picture", "threads", "guarded", "hooked", "adapted"])
def test_what_depends_on_something_else_is_not_taken(
    change: str, load_tiny: Load, root: Path, passes: list[int]
) -> None:
    questions = mixed(load_tiny("llava"))
    small_cache(kept_model(load_tiny)).fill(questions, hidden=False)
    count = len(passes)
    passes.clear()
    vlm = kept_model(load_tiny)
    cache = ReferenceCache(vlm, batch=4, branches=3, adapted=change == "adapted")
    if change == "weights":
        with torch.no_grad():
            next(vlm.model.base_model.language_model.parameters()).view(-1)[-1] += 1e-3
    elif change == "answer":
        questions = [q._replace(answer=q.answer + ".") for q in questions]
    elif change == "picture":
        loader = vlm.images.loader
        assert loader is not None
        vlm.attach_images(lambda image: loader(image + "'"))
    elif change == "threads":
        torch.set_num_threads(2)
    elif change == "hooked":
        vlm.model.base_model.language_model.register_forward_hook(lambda *_: None)
    elif change == "guarded":

        class Silent:
            def separated(self, _: object, rows: Any) -> Any:
                return rows

            def touched(self, *_: object) -> None: ...

            def acting(self, *_: object) -> Any:
                return torch.no_grad()

            def logits(self, logits: torch.Tensor) -> torch.Tensor:
                return logits

        vlm.guard = Silent()  # type: ignore[assignment]
    cache.fill(questions, hidden=False)
    assert len(passes) == count or (change == "picture" and 0 < len(passes) <= count)


def test_weights_that_changed_since_are_read_again(load_tiny: Load, root: Path, passes: list[int]) -> None:
    vlm = kept_model(load_tiny)
    questions = mixed(vlm)
    cache = small_cache(vlm)
    cache.fill(questions[:3], hidden=False)
    with torch.no_grad():
        next(vlm.model.base_model.language_model.parameters()).mul_(1.1)
    cache.fill(questions[3:], hidden=False)
    passes.clear()
    small_cache(kept_model(load_tiny)).fill(questions[3:], hidden=False)
    assert passes, "nothing of the changed model is taken for θ0's"


def test_a_damaged_file_is_computed_again(
    load_tiny: Load, root: Path, passes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    questions = mixed(load_tiny("llava"))
    first = small_cache(kept_model(load_tiny))
    first.fill(questions, hidden=True, layers=[1])
    expected = [value.clone() for value in everything(first, questions)]
    del first
    for path in root.rglob("*.safetensors"):
        data = bytearray(path.read_bytes())
        data[-5] ^= 4
        path.write_bytes(data)
    passes.clear()
    again = small_cache(kept_model(load_tiny))
    with caplog.at_level(logging.WARNING, "mllmu_med"):
        again.fill(questions, hidden=True, layers=[1])
    assert passes
    assert "computed again" in caplog.text
    assert equal(everything(again, questions), expected)


def test_hidden_states_wait_in_their_files(load_tiny: Load, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is let go of, and mapped."""
    vlm = kept_model(load_tiny)
    cache = small_cache(vlm)
    cache.fill(mixed(vlm), hidden=True)
    (path,) = root.rglob("references/*/*.safetensors")
    start, stop = next(
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if str(path) in line
    )
    for place in cache._places["hidden"].values():
        assert start <= place.owner.parts["hidden"].data_ptr() < stop


def test_most_of_a_record_set_is_computed_as_the_whole_of_it(load_tiny: Load, root: Path, passes: list[int]) -> None:
    """Two draws from one set, as of two seeds or for more steps, share their passes; a small draw costs itself only."""
    questions = mixed(load_tiny("llava"))
    draws = [[questions[i] for i in order] for order in ((8, 1, 2, 3, 4, 5, 6), (0, 7, 5, 6, 4, 3, 2, 1))]
    found = []
    for turn, draw in enumerate(draws):
        cache = small_cache(kept_model(load_tiny))
        passes.clear()
        cache.fill(draw, hidden=False, among=questions)
        assert sum(passes) == (0 if turn else len(questions))
        found.append(cache.logprob(draws[0][1:]))
    assert torch.equal(*found)
    passes.clear()
    small_cache(kept_model(load_tiny)).fill(questions[:2], hidden=False, among=questions)
    assert sum(passes) == 2


def test_of_the_whole_set_only_the_passes_that_are_asked_for_are_computed(
    llava: VisionLanguageModel, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "SHARED_SHARE", 0.1)
    questions = mixed(llava)
    small_cache(llava).fill(questions[:1], hidden=False, among=questions)
    assert len(passes) == 1
    assert 1 < passes[0] <= 4


def test_a_pass_of_the_same_rows_in_another_order_is_another_one(llava: VisionLanguageModel) -> None:
    rows, _ = llava.rows(mixed(llava), 3)
    names = references._Names(llava, ())
    assert names.of(rows) == references._Names(llava, ()).of(rows) != names.of(rows[::-1])


def test_a_large_vocabulary_goes_through_the_head_in_parts(
    llava: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = mixed(llava)
    whole = ReferenceCache(llava)
    whole.fill(questions, hidden=False)
    monkeypatch.setattr(references, "_WHOLE", 3 * llava.model.get_output_embeddings().weight.shape[0])
    parts = ReferenceCache(llava)
    seen: list[int] = []
    logits = llava.logits
    monkeypatch.setattr(llava, "logits", lambda hidden: (seen.append(len(hidden)), logits(hidden))[1])
    parts.fill(questions, hidden=False)
    assert max(seen) == 3
    torch.testing.assert_close(parts.logprob(questions), whole.logprob(questions), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("mode", ["full", "lora"])
def test_no_second_model_is_resident(mode: str, kept: bool, load_tiny: Load, root: Path) -> None:
    """Full fine-tuning keeps a copy of the output head where distributions are rebuilt, and nothing else."""
    vlm = kept_model(load_tiny, mode)
    vlm.kept = kept
    head = vlm.model.get_output_embeddings().weight.numel()
    before = resident()
    logprobs = ReferenceCache(vlm)
    logprobs.fill(mixed(vlm), hidden=False)
    assert resident() == before
    states = ReferenceCache(vlm)
    states.fill(mixed(vlm), hidden=True)
    assert resident() - before == (head if mode == "full" else 0)


def resident() -> int:
    """Numbers in all parameters that are alive, shared ones once."""
    gc.collect()
    found = {p.untyped_storage().data_ptr(): p.numel() for p in gc.get_objects() if type(p) is torch.nn.Parameter}
    return sum(found.values())
