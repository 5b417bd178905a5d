"""A served model as a row of a run: what is asked, what is written, and that yesterday's answers are never today's."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from mllmu_med import api
from mllmu_med.cli import main
from mllmu_med.engines.endpoint import Endpoint
from mllmu_med.errors import DataError, MedError, UsageError
from mllmu_med.evaluation.output_store import read_outputs
from mllmu_med.evaluation.probe_images import image_loader
from mllmu_med.folders import canonical_json, read_json, read_manifest, verify, write_json
from mllmu_med.pipeline.asking import roughly_tokens, served_rows
from mllmu_med.pipeline.attacking import row_attempts
from mllmu_med.pipeline.evaluating import answers_folder, asked_samples
from mllmu_med.pipeline.workshop import Workshop
from mllmu_med.recipe import Recipe
from tests.fake_server import Behaviour, FakeServer, completion, serving
from tests.unit.engines.test_endpoint import asked


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what asking reads of a run: recipe and benchmark."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copyfile(finished / "recipe.json", folder / "recipe.json")
    shutil.copytree(finished / "benchmark", folder / "benchmark")
    return folder


def reply(number: int, body: dict[str, Any]) -> Behaviour:
    text, image = asked(body)
    return Behaviour(body=completion(f"{text} {len(image or b'')}"))


def ask(run: Path, server: FakeServer, row: str = "served", **settings: Any) -> Path:
    return api.ask(run, server.url, "m", row, **{"backoff": 0.0, "retries": 0, **settings})


def workshop(run: Path) -> Workshop:
    return Workshop(Recipe.model_validate(read_json(run / "recipe.json")), run)


def test_the_row_is_an_evaluation_like_any_other_but_without_likelihoods(run: Path, finished: Path) -> None:
    with serving(reply) as server:
        folder = ask(run, server)
    outputs, own = read_outputs(folder), read_outputs(finished / "evaluations" / "theta0")
    assert folder == run / "evaluations" / "served"
    assert [(o.sample_id, o.probe, o.question) for o in outputs] == [(o.sample_id, o.probe, o.question) for o in own]
    assert all(output.generated.startswith(output.question) for output in outputs)
    assert {output.logprobs for output in outputs} == {output.confidence for output in outputs} == {None}
    manifest = verify(folder)
    assert manifest["served"] == {
        "url": str(api_address(server)), "model": "m", "body": {}, "fingerprints": [], "requests": len(own), "kept": 0,
    }  # fmt: skip
    assert (manifest["outputs"], manifest["empty"], manifest["truncated"]) == (len(own), 0, 0)
    assert not answers_folder(folder).exists(), "nothing private is left besides the row"
    found = served_rows(workshop(run))
    assert list(found) == ["served"]
    assert found["served"]["family"] == "served"
    assert found["served"]["summary"] == f"m, asked at {api_address(server)}"


def api_address(server: FakeServer) -> str:
    return f"{server.url}/chat/completions"


def test_it_is_scored_beside_the_runs_own_rows(run: Path, finished: Path) -> None:
    from mllmu_med.pipeline.scoring import scored_rows

    with serving(reply) as server:
        folder = ask(run, server)
    whole = Workshop(Recipe.model_validate(read_json(finished / "recipe.json")), finished)
    outputs = {name: read_outputs(finished / "evaluations" / name) for name in ("theta0", "oracle")}
    rows = scored_rows(whole, asked_samples(whole), {**outputs, "served": read_outputs(folder)})
    (row,) = (row for row in rows if row["name"] == "served")
    assert row["cost"] is None
    numbers = row["metrics"]["forget/privacy"]["private_image"]
    assert numbers["rouge_l_recall"] is not None
    assert numbers.get("probability") is None


def test_a_dry_run_counts_and_asks_nobody(run: Path) -> None:
    samples = asked_samples(workshop(run))
    with serving(reply) as server:
        plan = api.plan_asking(run, server.url, "m")
        assert server.requests == []
        assert plan.questions == len(samples)
        assert plan.with_image == sum(sample.image_id is not None for sample in samples)
        assert plan.images == len({sample.image_id for sample in samples} - {None})
        assert plan.prompt_tokens == sum(roughly_tokens(sample.question) for sample in samples)
        assert plan.answer_tokens == 4 * len(samples)
        assert plan.kept == 0
    assert not (run / "evaluations").exists()


def test_tokens_by_rule_of_thumb() -> None:
    assert [roughly_tokens(text) for text in ("", "a", "abcd", "abcde", "右肺", "右肺ab")] == [0, 1, 1, 2, 2, 3]


def test_interrupted_it_goes_on_and_writes_what_it_would_have_written(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(reply) as server:
        expected = (ask(run, server, "whole") / "outputs.parquet").read_bytes()
        total = len(server.requests)

    def failing(number: int, body: dict[str, Any]) -> Behaviour:
        return reply(number, body) if number < total // 2 else Behaviour(status=500)

    with serving(failing) as server:
        with pytest.raises(MedError, match="the same command goes on from here"):
            ask(run, server, concurrency=1)
        assert not (run / "evaluations" / "served").exists(), "no row is better than half a row"
        kept = answers_folder(run / "evaluations" / "served")
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
        assert api.plan_asking(run, server.url, "m").kept == total // 2
        assert api.plan_asking(run, server.url, "another").kept == 0
        server._script = reply
        asked_so_far = len(server.requests)
        folder = ask(run, server)
        assert len(server.requests) - asked_so_far == total - total // 2
    assert (folder / "outputs.parquet").read_bytes() == expected
    assert read_manifest(folder)["served"]["kept"] == total // 2
    assert f"{total // 2} answers of an interrupted attempt are used" in caplog.text
    assert not kept.exists()


def test_ctrl_c_keeps_what_has_come(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = Endpoint._each

    def interrupted(self: Endpoint, *given: Any) -> Any:
        for number, pair in enumerate(each(self, *given)):
            if number == 6:
                raise KeyboardInterrupt
            yield pair

    with serving(reply) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Endpoint, "_each", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ask(run, server)
        assert api.plan_asking(run, server.url, "m").kept == 6
        ask(run, server)
    assert read_manifest(run / "evaluations" / "served")["served"]["kept"] == 6


def test_a_finished_row_is_never_taken_for_an_answer_of_today(run: Path) -> None:
    with serving(reply) as server:
        ask(run, server)
        once = len(server.requests)
        with pytest.raises(UsageError, match="may have changed since: ask it again with --afresh"):
            ask(run, server)
        assert len(server.requests) == once
        server._script = lambda number, body: Behaviour(body=completion("forgotten"))
        folder = ask(run, server, afresh=True)
        assert len(server.requests) == 2 * once, "everything is asked again"
    assert {output.generated for output in read_outputs(folder)} == {"forgotten"}


def test_afresh_drops_what_an_interrupted_attempt_has_left(run: Path) -> None:
    with serving(lambda n, body: reply(n, body) if n < 5 else Behaviour(status=500)) as server:
        with pytest.raises(MedError):
            ask(run, server, concurrency=1)
        server._script = lambda number, body: Behaviour(body=completion("new"))
        folder = ask(run, server, afresh=True)
    assert {output.generated for output in read_outputs(folder)} == {"new"}


def test_a_row_that_was_asked_other_questions_is_left_out(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(reply) as server:
        ask(run, server)
    raw = read_json(run / "recipe.json")
    raw["evaluate"]["bootstrap"] = 5
    write_json(run / "recipe.json", raw)
    assert list(served_rows(workshop(run))) == ["served"], "how rows are scored does not matter"
    raw["evaluate"]["max_new_tokens"] = 5
    write_json(run / "recipe.json", raw)
    assert served_rows(workshop(run)) == {}
    assert "served was asked other questions" in caplog.text


@pytest.mark.parametrize("row", ["theta0", "oracle", "refuse_all", "npo", "a/b", "..", "", "npo@1", "x" * 81, ".a"])
def test_rows_that_cannot_be(run: Path, row: str) -> None:
    with serving(reply) as server, pytest.raises(UsageError, match=r"--row|cannot name a row"):
        ask(run, server, row)
    assert server.requests == []


def test_the_rows_of_the_run_are_never_replaced(run: Path, finished: Path) -> None:
    shutil.copytree(finished / "evaluations" / "npo", run / "evaluations" / "older")
    with serving(reply) as server, pytest.raises(UsageError, match="is a row of the run itself"):
        ask(run, server, "older", afresh=True)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run with a benchmark"):
        api.plan_asking(tmp_path, "http://localhost:1/v1", "m")


def test_values_of_real_people_stay_in_the_house(run: Path) -> None:
    manifest = read_json(run / "benchmark" / "manifest.json")
    write_json(run / "benchmark" / "manifest.json", {**manifest, "plan": {"private_values": "request"}})
    for url in ("https://llm.example.org/v1", "https://8.8.8.8/v1"):
        with pytest.raises(UsageError, match=r"holds values of real people, and .* --trust-host"):
            api.plan_asking(run, url, "m")
        assert api.plan_asking(run, url, "m", trust_host=True).questions
    for url in ("http://localhost:1/v1", "http://192.168.3.4:8000/v1"):
        assert api.plan_asking(run, url, "m").questions
    (run / "benchmark").chmod(0o700)
    with serving(reply) as server:
        folder = ask(run, server)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "closed as the benchmark is"


def test_the_images_of_the_benchmark_arrive(run: Path) -> None:
    load = image_loader(workshop(run).benchmark)
    with serving(reply) as server:
        ask(run, server)
        sent = {asked(body) for body in server.requests}
    from mllmu_med.engines.endpoint import png_bytes

    samples = [sample for sample in asked_samples(workshop(run)) if sample.image_id is not None]
    assert {(s.question, png_bytes(load(s.image_id))) for s in samples if s.image_id} <= sent


def test_black_box_attacks_are_carried_out_and_lie_where_the_others_do(run: Path) -> None:
    from mllmu_med.attacks.store import read_attempts

    with serving(reply) as server:
        with pytest.raises(UsageError, match="names no black-box attack"):
            ask(run, server, attacks=True)
        raw = read_json(run / "recipe.json")
        raw["attack"] = {"attacks": [black_box_name(), "quantise"], "targets": 4}
        write_json(run / "recipe.json", raw)
        plan = api.plan_asking(run, server.url, "m", attacks=True)
        folder = ask(run, server, attacks=True)
        assert plan.questions == len(server.requests) > len(read_outputs(folder))
    assert plan.attacks == (black_box_name(),)
    assert read_manifest(folder)["attacks"] == [black_box_name()]
    attempts = read_attempts(run / "attacks" / "served" / f"{black_box_name()}.parquet")
    assert attempts
    assert all(attempt.candidates[0].startswith(attempt.question) for attempt in attempts)
    verify(run / "attacks" / "served")


def test_attacks_on_an_earlier_model_are_not_this_ones(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither behind the same address, nor with other numbers of the attack."""
    raw, name = read_json(run / "recipe.json"), black_box_name()
    raw["attack"] = {"attacks": [name], "targets": 4}
    write_json(run / "recipe.json", raw)

    def found() -> dict[str, list[str]]:
        return {row: list(made) for row, made in row_attempts(workshop(run), ["served"]).items()}

    with serving(reply) as server:
        ask(run, server, attacks=True)
        assert found() == {"served": [name]}
        write_json(run / "recipe.json", {**raw, "attack": {**raw["attack"], "targets": 3}})
        assert found() == {"served": []}
        assert f"{name} on served: of another model, or with other numbers: left out" in caplog.text
        write_json(run / "recipe.json", raw)
        kept = shutil.copytree(run / "attacks", run.parent / "attacks")
        ask(run, server, afresh=True)
        assert found() == {}
        assert not (run / "attacks" / "served").exists()
        shutil.copytree(kept, run / "attacks", dirs_exist_ok=True)
        api.ask(run, server.url, "another", "served", afresh=True, attacks=True, backoff=0.0, retries=0)
        shutil.rmtree(run / "attacks")
        shutil.copytree(kept, run / "attacks")
    assert found() == {"served": []}


def black_box_name() -> str:
    from mllmu_med.attacks import ATTACKS
    from mllmu_med.attacks.interface import Asking

    names = (name for name in ATTACKS.names() if _is_asking(name, Asking))
    return next(iter(names))


def _is_asking(name: str, kind: type) -> bool:
    from mllmu_med.attacks import ATTACKS

    try:
        return issubclass(ATTACKS.get(name), kind)
    except ImportError:
        return False


def test_hints_at_a_server_that_is_asked_wrongly(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(Behaviour(body=completion(""))) as server:
        ask(run, server, "empty")
    assert "100 % of the answers are empty" in caplog.text
    assert read_manifest(run / "evaluations" / "empty")["empty"] == len(read_outputs(run / "evaluations" / "empty"))
    cut = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}).encode()
    with serving(Behaviour(body=cut)) as server:
        ask(run, server, "cut")
    assert "100 % of the answers meet the limit" in caplog.text


# --- the command


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_KEY", "sk-very-secret")
    with serving(reply) as server:
        given = ["ask", str(run), "--base-url", server.url, "--model", "m", "--row", "mine", "--retries", "0"]
        assert main([*given, "--dry-run", "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["questions"] > 0
        assert server.requests == []
        assert main([*given, "--dry-run"]) == 0
        assert "nobody was asked" in capsys.readouterr().out
        body = canonical_json({"top_k": 1})
        assert main([*given, "--key-variable", "HOSPITAL_KEY", "--concurrency", "2", "--body", body]) == 0
        told = capsys.readouterr()
        assert told.out.splitlines()[-1] == str(run / "evaluations" / "mine")
        assert {request["top_k"] for request in server.requests} == {1}
        assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
        assert main(given) == 2
        told_again = capsys.readouterr()
        assert told_again.err.startswith("error: 'mine' has been asked already")
        assert main([*given, "--body", "[1]"]) == 2
        assert "--body must be a JSON object" in capsys.readouterr().err
    files = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert not any(b"sk-very-secret" in content for content in files)
    assert "secret" not in told.out + told.err
