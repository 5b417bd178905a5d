"""What an engine is asked for a benchmark, with an engine that only notes it; and outputs on disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mllmu_med.benchmark.sample import Probe, Sample, Stratum, Subset
from mllmu_med.engines.interface import Detail, Likelihood
from mllmu_med.evaluation.measure import measure
from mllmu_med.evaluation.output_store import read_outputs, write_outputs
from mllmu_med.evaluation.outputs import Output
from mllmu_med.models.generation import Answer, Known, Prompt
from mllmu_med.models.vlm import Question

ONE = Sample(
    "s1", "r1", Subset.FORGET_INCORRECTNESS, Stratum.WRONG_IMAGE, "Which side?", "left lung", "g", image_id="a",
    wrong_answer="left lung", correct_answer="right lung", probes=(Probe("paraphrase-1", "On which side?"),),
)  # fmt: skip
TWIN = replace(ONE, id="s2", answer="the right lung", wrong_answer="the left lung", probes=())
ALONE = replace(ONE, id="s3", question="Is it large?", image_id=None, probes=())


class Noting:
    """Says the last word of a question; holds a scored answer's first tokens for greedy, as many as ``greedy`` says."""

    def __init__(self, greedy: dict[str, int], tells: bool = True) -> None:
        self.greedy, self.tells_likelihoods = greedy, tells
        self.prompts: list[Prompt] = []
        self.questions: list[Question] = []

    def answers(self, prompts: Sequence[Prompt], **_: object) -> list[Answer]:
        self.prompts = list(prompts)
        return [Answer(f"{prompt.image} {prompt.question}", False, -0.5) for prompt in prompts]

    def likelihoods(
        self, questions: Sequence[Question], *, detailed: Collection[Question] = (), **_: object
    ) -> list[Likelihood]:
        self.questions = list(questions)
        found = []
        for question in questions:
            count = self.greedy.get(question.answer, 0)
            hits = tuple(place < count or place == 3 for place in range(4))
            detail = Detail((-1.0,) * 4, (0.5,) * 4, 2.0, ((-3.0, -4.0),) * 4) if question in detailed else None
            found.append(Likelihood((-1.0, -2.0, -3.0, -len(question.answer) / 8), hits, detail))
        return found


def asked(engine: Noting, samples: Sequence[Sample] = (ONE, TWIN, ALONE)) -> list[Output]:
    return measure(engine, samples, max_new_tokens=5, seed=0)  # type: ignore[arg-type]


def test_equal_questions_are_asked_once_and_everybody_gets_the_answer() -> None:
    engine = Noting({})
    outputs = asked(engine)
    assert [prompt[:2] for prompt in engine.prompts] == [
        ("a", "Which side?"), ("a", "On which side?"), (None, "Is it large?"),
    ]  # fmt: skip
    assert len(engine.questions) == len(set(engine.questions)) == 8, "4, 2 and 2 answers"
    said = {(one.sample_id, one.probe): one.generated for one in outputs}
    assert said["s1", "original"] == said["s2", "original"] == "a Which side?"
    assert said["s1", "paraphrase-1"] == "a On which side?"
    assert said["s3", "original"] == "None Is it large?"


def test_the_longest_greedy_beginning_of_any_scored_answer_is_known() -> None:
    engine = Noting({"left lung": 1, "right lung": 2, "the left lung": 0})
    asked(engine)
    known = {prompt[:2]: prompt.known for prompt in engine.prompts}
    assert known["a", "Which side?"] == Known("right lung", (-1.0, -2.0)), "the twin's correct answer"
    assert known["a", "On which side?"] == Known("right lung", (-1.0, -2.0))
    engine = Noting({"left lung": 4})
    asked(engine)
    assert {prompt.known for prompt in engine.prompts} == {Known("left lung", (-1.0, -2.0, -3.0, -9 / 8))}


def test_a_greedy_token_behind_one_that_is_not_is_no_beginning() -> None:
    engine = Noting({})
    asked(engine)
    assert {prompt.known for prompt in engine.prompts} == {None}


def test_an_engine_without_likelihoods_is_asked_for_answers_alone() -> None:
    engine = Noting({"left lung": 4}, tells=False)
    outputs = asked(engine)
    assert engine.questions == []
    assert {prompt.known for prompt in engine.prompts} == {None}
    assert {one.logprobs for one in outputs} == {None}
    assert {one.confidence for one in outputs} == {-0.5}


def test_outputs_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = asked(Noting({"left lung": 2}))
    made += [
        Output("s4", "blank", "?", "é\n", True, (), (), None, (-0.25,)),
        Output("s5", "blank", "?", "", cells=((), (-1.0, -float("inf"))), expected=(-1.5,), head_gradient=0.5),
    ]
    write_outputs(made, tmp_path)
    assert any(one.cells for one in made)
    assert read_outputs(tmp_path) == made
    assert read_outputs(tmp_path, texts_only=True) == [
        Output(one.sample_id, one.probe, one.question, one.generated, one.truncated) for one in made
    ]


def test_no_outputs_are_none(tmp_path: Path) -> None:
    write_outputs([], tmp_path)
    assert read_outputs(tmp_path) == read_outputs(tmp_path, texts_only=True) == []


def test_the_first_of_two_equally_long_beginnings_is_taken() -> None:
    """So that the same evaluation plans the same work every time."""
    engine = Noting({"left lung": 2, "right lung": 2})
    asked(engine)
    assert engine.prompts[0].known == Known("left lung", (-1.0, -2.0))
