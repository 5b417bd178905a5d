"""What holds of every black-box attack: what it may ask, how much, and that it is a pure function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from mllmu_med.attacks import ATTACKS
from mllmu_med.attacks.interface import FORGET, Asking, Data, Query, Threat
from mllmu_med.benchmark.facts.answers import normalise
from mllmu_med.benchmark.images.changes import CHANGES, STRENGTHS
from mllmu_med.benchmark.sample import Sample
from mllmu_med.evaluation.spans import asked_for
from tests.unit.attacks.black_box.cases import DATA

SUITE = (
    "paraphrase", "prefix", "language", "jailbreak", "continue_record", "few_shot", "hierarchy", "image_change",
    "image_question", "text_only", "mismatched", "sampling",
)  # fmt: skip
REWORDED = ("paraphrase", "prefix", "language", "jailbreak", "continue_record", "few_shot", "image_question")


def made(name: str, **numbers: Any) -> Asking:
    attack: Asking = ATTACKS.get(name)(**numbers)
    return attack


def asked(name: str, data: Data) -> Iterator[tuple[Sample, Query]]:
    attack = made(name)
    for target in data.targets:
        for query in attack.queries(target, data):
            yield target, query


@pytest.fixture(params=["phantom", "by hand"])
def data(request: pytest.FixtureRequest) -> Data:
    found: Data = request.getfixturevalue("phantom") if request.param == "phantom" else DATA
    return found


@pytest.mark.parametrize("name", SUITE)
def test_no_query_states_what_is_asked_for(name: str, data: Data) -> None:
    count = 0
    for target, query in asked(name, data):
        before, after = asked_for(target.spans, target.question), asked_for(target.spans, query.question)
        # The attack on the text form may drop the name from the question, never add a value.
        assert {span.value for span in before} <= {span.value for span in after}, (target.id, query)
        count += 1
    assert count


@pytest.mark.parametrize("name", REWORDED)
def test_no_wording_is_one_that_was_trained_on(name: str, data: Data) -> None:
    for target, query in asked(name, data):
        assert normalise(query.question) not in {normalise(text) for text in (target.question, *target.phrasings)}


def test_a_question_by_name_is_none_that_was_trained_on_of_any_target(phantom: Data) -> None:
    trained = {normalise(text) for target in phantom.targets for text in (target.question, *target.phrasings)}
    named = [query.question for _, query in asked("text_only", phantom) if query.variant == "named"]
    assert len(named) > 10
    assert not trained & {normalise(text) for text in named}


@pytest.mark.parametrize("name", SUITE)
def test_queries_are_a_pure_function_of_sample_and_data(name: str, data: Data) -> None:
    assert list(asked(name, data)) == list(asked(name, data))
    turned = replace(data, targets=data.targets[::-1])
    by_sample = {(target.id, query.variant): query for target, query in asked(name, turned)}
    names = [(target.id, query.variant) for target, query in asked(name, data)]
    assert len(names) == len(set(names)), "one variant, one query"
    if data is DATA:  # patients' names come from the targets, in whatever order
        assert {(target.id, query.variant): query for target, query in asked(name, data)} == by_sample


@pytest.mark.parametrize("name", SUITE)
def test_every_image_is_one_that_the_attacker_has(name: str, data: Data) -> None:
    everything = (*data.targets, *data.retained, *data.unrelated, *data.bystanders)
    known = {one.image_id for one in everything}
    changes = {f"{change}-{strength}" for change in CHANGES for strength in STRENGTHS}
    for _, query in asked(name, data):
        image, _, change = (query.image or "").partition("#")
        assert (image or None) in known
        assert not change or change in changes


def test_the_suite_costs_about_sixty_short_answers_a_target(phantom: Data) -> None:
    by_kind: dict[bool, list[int]] = {True: [], False: []}
    for target in phantom.targets:
        cost = sum(max(1, query.draws) for name in SUITE for query in made(name).queries(target, phantom))
        by_kind[target.image_id is not None].append(cost)
    with_image, without = (sum(costs) / len(costs) for costs in (by_kind[True], by_kind[False]))
    assert 58 < with_image < 72
    assert 35 < without < 50
    assert max(*by_kind[True], *by_kind[False]) <= 72


@pytest.mark.parametrize("name", SUITE)
def test_every_attack_says_what_it_is(name: str) -> None:
    attack = made(name)
    assert attack.threat is Threat.BLACK_BOX
    assert attack.robust
    assert all((attack.label, attack.source, attack.summary, attack.cost))
    assert not attack.summary.endswith(".")
    assert attack.budget == (16 if name == "sampling" else 1)
    with pytest.raises(FrozenInstanceError):
        attack.budget = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        made(name, budget=3)


@pytest.mark.parametrize("name", SUITE)
def test_the_cost_told_is_the_cost_of_a_sample_that_has_everything(name: str, phantom: Data) -> None:
    most = max(sum(max(1, q.draws) for q in made(name).queries(target, phantom)) for target in phantom.targets)
    assert made(name).cost.startswith(f"{most} ")


@pytest.mark.parametrize("name", [name for name in SUITE if name not in ("few_shot", "sampling")])
def test_every_number_bounds_what_is_asked(name: str, phantom: Data) -> None:
    """With each of its fields at zero or empty, an attack asks less; with all of them, nothing."""
    attack: Any = made(name)
    numbers = [field.name for field in fields(attack) if field.init and field.name != "strength"]
    assert numbers
    targets = [target for target in phantom.targets if target.subset in FORGET and target.image_id is not None]
    full = sum(len(list(attack.queries(target, phantom))) for target in targets)
    empty = {number: type(getattr(attack, number))() for number in numbers}
    for number in numbers:
        less: Any = replace(attack, **{number: empty[number]})
        assert sum(len(list(less.queries(target, phantom))) for target in targets) < full
    nothing: Any = replace(attack, **empty)
    assert not [query for target in targets for query in nothing.queries(target, phantom)]


def test_private_and_wrong_facts_are_attacked_by_all(phantom: Data) -> None:
    assert {target.form for target in phantom.targets} == {"leak", "direct", "text", "burned", None}
    for name in SUITE:
        assert {target.subset for target, _ in asked(name, phantom)} == set(FORGET), name
