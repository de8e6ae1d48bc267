"""Each known source reads a row of its real schema, from JSONL and from Parquet; nothing in a record raises."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import octo
from curation.config import CurateRecipe, SourceRecipe
from curation.known_sources import KNOWN
from curation.pipeline import curate, plan
from curation.reading.adapters import REASONS, SHAPES, Parts, Refused, document, needed
from curation.reading.files import find_files
from curation.reading.records import FIELDS, Bad, Good, check_columns, read_records
from manifests.catalog import query
from manifests.errors import UserError
from manifests.process import PROJECT
from manifests.recipe import load, parse, semantic
from manifests.store import Store

ROWS = {line["source"]: line for line in map(json.loads, (Path(__file__).parent / "known_rows.jsonl").open())}


def known(name: str, /, **fields) -> SourceRecipe:
    return SourceRecipe.model_validate({"known": name} | fields)


def refused(name: str, row: dict[str, Any], **fields) -> str:
    with pytest.raises(Refused) as error:
        document(row, known(name, **fields))
    return error.value.args[0]


def openr1(**fields) -> Parts:
    return document(ROWS["openr1-math-220k"]["row"] | fields, known("openr1-math-220k"))


def test_every_known_source_has_a_row_in_its_real_schema():
    assert set(ROWS) == set(KNOWN)
    for name, line in ROWS.items():
        assert tuple(line["row"]) == KNOWN[name].columns, name
        assert set(needed(known(name))) <= set(KNOWN[name].columns), name


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_becomes_a_document_from_jsonl_and_parquet(name, tmp_path):
    row, expected = ROWS[name]["row"], tuple(ROWS[name]["parts"].get(field) for field in FIELDS)
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "b.parquet")
    source = known(name, path=str(tmp_path))
    files = find_files(source, None)
    check_columns(source, files)
    good = Good(0, expected, None, ROWS[name].get("scores", {}), ROWS[name].get("metadata"))
    assert [list(read_records(file, source, 10**6, tmp_path)) for file in files] == [[good]] * 2


def test_openr1_takes_the_first_verified_generation():
    first = openr1(correctness_math_verify=[True, True, True])
    assert first.response == "<think>\nSix sevens are 41.\n</think>\n\\boxed{41}"
    assert "42" in (openr1(is_reasoning_complete=[True, None, False]).response or "")
    assert "Again" in (openr1(is_reasoning_complete=[True, False, True]).response or "")
    judged = openr1(correctness_math_verify=[False, False, None], correctness_llama=[False, False, True])
    assert "Again" in (judged.response or "") and judged.doubt is None
    both = openr1(correctness_math_verify=[False, False, True], correctness_llama=[True, True, True])
    assert "Again" in (both.response or "")


def test_openr1_without_a_verified_generation_is_a_document_in_doubt():
    parts = openr1(correctness_math_verify=[False, False, False])
    assert parts.doubt and parts.doubt.reason == "unverified" and "41" in (parts.response or "")
    assert json.loads(parts.doubt.evidence) == {"generations": 3, "verified": 0}


def test_a_chain_of_thought_that_does_not_end_is_refused():
    row = ROWS["openr1-math-220k"]["row"]
    assert refused("openr1-math-220k", row | {"generations": ["<think>\nSix sevens"]}) == "unfinished_reasoning"
    assert refused("openr1-math-220k", row | {"generations": []}) == "unfinished_reasoning"
    assert refused("openr1-math-220k", row | {"is_reasoning_complete": [False] * 3}) == "unfinished_reasoning"
    short = {"question": "q", "answer": "<think>so</think> ", "ground_truth": "1"}
    assert refused("am-deepseek-distilled-40m", short) == "unfinished_reasoning"


def test_distilled_reads_thought_and_answer_of_a_message():
    asked = {"role": "user", "content": "Is 9 prime?", "info": {"reference_answer": "no", "think_content": None}}
    info = {"think_content": "3 divides it.", "answer_content": "No.", "reference_answer": None}
    replied = {"role": "assistant", "content": "<think>3 divides it.</think><answer>No.</answer>", "info": info}
    response = "<think>\n3 divides it.\n</think>\nNo."
    expected = Parts(text=f"Is 9 prime?\n{response}", question="Is 9 prime?", response=response, answer="no")
    source = known("am-deepseek-distilled-40m", scores=None)
    assert document({"messages": [asked, replied]}, source) == expected
    assert document({"messages": [asked, replied | {"info": None}]}, source) == expected
    assert refused(source.name, {"messages": [asked]}) == "not_a_dialogue"


def test_a_chat_is_kept_to_its_last_whole_exchange():
    def turns(*said: tuple[str, str | None]) -> Parts:
        messages = [{"role": role, "content": content} for role, content in said]
        return document({"prompt_id": "p", "messages": messages}, known("ultrachat-200k"))

    asked, replied = ("user", "a"), ("assistant", "b")
    assert turns(("system", "be brief"), asked, replied).text == "User:a\nAssistant:b"
    assert turns(asked, replied, ("user", "c")).text == "User:a\nAssistant:b"
    assert turns(asked, replied, ("user", ""), replied).text == "User:a\nAssistant:b"
    assert turns(asked, replied, ("user", "c"), ("assistant", None)).text == "User:a\nAssistant:b"
    for said in ([], [asked], [replied, asked], [asked, ("tool", "x"), replied], [asked, asked]):
        with pytest.raises(Refused, match="not_a_dialogue"):
            turns(*said)


def test_the_quality_rule_of_a_source_drops_and_keeps_the_evidence():
    row = ROWS["wildchat-1m"]["row"]
    assert document(row, known("wildchat-1m")).doubt is None
    doubt = document(row | {"model": "gpt-3.5-turbo-0301"}, known("wildchat-1m")).doubt
    assert doubt and doubt.reason == "excluded"
    assert json.loads(doubt.evidence) == {"column": "model", "value": "gpt-3.5-turbo-0301", "only": ["gpt-4*"]}
    assert document(row | {"model": None}, known("wildchat-1m")).doubt
    assert document(row | {"model": "llama"}, known("wildchat-1m", only={})).doubt is None
    flagged = known("numinamath-1.5", only={"synthetic": ["false"], "problem_is_valid": ["Yes"]})
    assert document(ROWS["numinamath-1.5"]["row"], flagged).doubt is None
    assert document(ROWS["numinamath-1.5"]["row"] | {"synthetic": True}, flagged).doubt


def test_scores_of_a_source_are_numbers_or_nothing():
    row = ROWS["finemath-3plus"]["row"]
    for value, number in ((3, 3.0), (2.5, 2.5), (None, None), (float("nan"), None)):
        assert document(row | {"score": value}, known("finemath-3plus")).scores["finemath_score"] == number
    for value in ("3.2", True, [3.2]):
        assert refused("finemath-3plus", row | {"score": value}) == "wrong_type"
    assert document({"text": "t"}, known("finemath-3plus")).scores == {
        "finemath_score": None,
        "finemath_int_score": None,
    }
    with pytest.raises(UserError, match=r"scores\.quality"):
        parse({"name": "s", "path": "x", "role": "web", "scores": {"quality": "score"}}, SourceRecipe, "test")


def test_answers_of_math_numina_and_simplerl():
    row = ROWS["math"]["row"]
    assert refused("math", row | {"solution": "It follows."}) == "no_final_answer"
    numina = ROWS["numinamath-1.5"]["row"]
    assert document(numina | {"answer": "12"}, known("numinamath-1.5")).answer == "12"
    assert document(numina | {"answer": "notfound"}, known("numinamath-1.5")).answer is None
    zoo = {"prompt": [{"role": "user", "content": "What is 1 + 1?"}], "reward_model": {"ground_truth": 2}}
    assert document(zoo, known("simplerl-zoo")) == Parts(question="What is 1 + 1?", answer="2")
    assert refused("simplerl-zoo", {"prompt": [], "question": "q", "gt_answer": None}) == "null_field"


def test_prompts_come_in_many_shapes():
    """MATH8K's own file has a plain prompt; DAPO tells the model how to answer around the problem."""
    assert document({"prompt": "What is 2 + 2?", "gt_answer": "4"}, known("simplerl-zoo")) == Parts(
        question="What is 2 + 2?", answer="4"
    )
    told = (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
        "$Answer (without quotes) where $Answer is the answer to the problem.\n\nWhat is 2 + 2?\n\n"
        'Remember to put your answer on its own line after "Answer:".'
    )
    dapo = {"prompt": [{"role": "user", "content": told}], "reward_model": {"ground_truth": "4", "style": "rule"}}
    assert document(dapo, known("dapo-math-17k")) == Parts(question="What is 2 + 2?", answer="4")


def test_a_prompt_without_an_answer_is_refused_and_a_question_is_not():
    numina = ROWS["numinamath-1.5"]["row"] | {"answer": "proof"}
    assert document(numina, known("numinamath-1.5")).answer is None
    as_prompt = known("numinamath-1.5", role="rl")
    with pytest.raises(Refused) as refusal:
        document(numina, as_prompt)
    assert refusal.value.args[0] == "no_final_answer"
    assert document(numina | {"answer": "12"}, as_prompt).answer == "12"
    assert (
        document(ROWS["gsm8k"]["row"], known("gsm8k", role="rl")).answer
        == document(ROWS["gsm8k"]["row"], known("gsm8k")).answer
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=True) | st.sampled_from(["", "x", "user"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "info"]), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("name", sorted({KNOWN[name].adapter: name for name in KNOWN}.values()))
@given(data=st.data())
def test_nothing_in_a_record_raises(name, data):
    row = dict(ROWS[name]["row"])
    for column in data.draw(st.sets(st.sampled_from(sorted(row)))):
        row[column] = data.draw(JSON)
    row |= {"messages": data.draw(JSON)} if data.draw(st.booleans()) else {}
    try:
        assert isinstance(document(row, known(name)), Parts)
    except Refused as refusal:
        assert refusal.args[0] in REASONS


def test_every_adapter_serves_a_known_source():
    assert {source.adapter for source in KNOWN.values()} | {"html", "annotation"} == set(SHAPES)


def test_nested_text_that_is_no_utf8_is_one_bad_record(tmp_path):
    said = pa.array([b"a", b"b", b"\xff", b"d"], pa.binary()).view(pa.string())
    turns = pa.StructArray.from_arrays([pa.array(["user", "assistant"] * 2), said], ["role", "content"])
    messages = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), turns)
    pq.write_table(pa.table({"messages": messages}), tmp_path / "a.parquet")
    source = known("tulu-3-personas-if", path=str(tmp_path))
    (file,) = find_files(source, None)
    good, bad = read_records(file, source, 10**6, tmp_path)
    assert isinstance(good, Good) and isinstance(bad, Bad)
    assert (bad.position, bad.reason) == (1, "invalid_utf8")


# -- in a recipe -----------------------------------------------------------------------------------------------------

UNPINNED = {
    "dclm-baseline", "openwebmath", "am-deepseek-distilled-40m", "openmathinstruct-2", "tulu-3-personas-if",
    "wildchat-1m", "ultrachat-200k", "gsm8k", "math", "dapo-math-17k",
}  # fmt: skip
"""Sources whose commit nobody has checked. Pinning one means reading the repository at that commit first."""


def test_which_sources_are_not_pinned():
    assert {name for name, source in KNOWN.items() if source.revision is None} == UNPINNED


def corpus(tokenizer, **source) -> CurateRecipe:
    return parse({"name": "c", "tokenizer": str(tokenizer), "sources": [source]}, CurateRecipe, "test")


def printed(name: str, folder: Path, *overrides: str) -> CurateRecipe:
    """The recipe that `octo sources NAME --recipe` prints, loaded."""
    done = CliRunner().invoke(octo.app, ["sources", name, "--recipe"])
    assert done.exit_code == 0
    (folder / "r.yaml").write_text(done.output)
    return load(folder / "r.yaml", CurateRecipe, overrides)


@pytest.mark.parametrize("name", KNOWN)
def test_the_printed_recipe_of_each_source_is_planned_without_the_hub(name, tmp_path):
    store, recipe, row = Store(tmp_path / "store"), printed(name, tmp_path), KNOWN[name]
    if row.broken:
        for refuse in (plan, curate):
            with pytest.raises(UserError, match=rf"no text .* Drop sources\.0 \(known: {name}\)"):
                refuse(store, recipe)
        return
    read, note = plan(store, recipe)[:2]
    assert read.what.startswith(f"{name} ({row.role}): {row.path}")
    assert (read.documents, read.tokens) == (row.documents, row.tokens)
    assert "the hub was not asked" in note.what
    assert ("needs revision=" in read.what) == (name in UNPINNED) == (name in note.what)
    if name in UNPINNED:
        with pytest.raises(UserError, match=rf"sources\.0\.revision \({name}\)\. Give each its revision=<commit>"):
            curate(store, recipe)
        pinned = plan(store, printed(name, tmp_path, f"sources.0.revision={'a1' * 20}"))
        assert "a1" * 20 in pinned[0].what and "no commit" not in pinned[1].what


def test_the_headline_recipe_is_planned_without_sources_that_hold_no_text():
    recipe = load(Path(__file__).parents[2] / "recipes" / "octothinker" / "corpus.yaml", CurateRecipe, [])
    assert not [source.name for source in recipe.sources if KNOWN[source.known].broken]
    assert "megamath-code" not in [source.name for source in recipe.sources]


@pytest.mark.parametrize("name", KNOWN)
def test_the_printed_recipe_of_each_source_is_planned_on_a_local_copy(name, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(json.dumps(ROWS[name]["row"]))
    pq.write_table(pa.Table.from_pylist([ROWS[name]["row"]] * 3), tmp_path / "in" / "b.parquet")
    rows = plan(Store(tmp_path / "store"), printed(name, tmp_path, f"sources.0.path={tmp_path / 'in'}"))
    assert rows[0].what.startswith(f"{name} ({KNOWN[name].role}): {tmp_path}")
    assert rows[0].files == 2 and (rows[0].bytes or 0) > 0
    assert [row.stage for row in rows] == ["read", "annotate", "decontaminate", "quality", "copies", "freeze"]


def test_the_corpus_of_the_paper_is_planned_and_what_lacks_a_commit_is_named_at_once(tmp_path):
    recipe, store = load(PROJECT / "recipes" / "octothinker" / "corpus.yaml", CurateRecipe), Store(tmp_path)
    assert all(source.known == source.name for source in recipe.sources)
    missing = [source.name for source in recipe.sources if source.name in UNPINNED]
    rows = plan(store, recipe)
    (note,) = [row for row in rows if row.stage == "note"]
    assert note.what.endswith(f"; no commit is pinned yet for {', '.join(missing)}")
    assert sum(row.tokens or 0 for row in rows) > 4_000_000_000_000
    with pytest.raises(UserError) as error:
        curate(store, recipe)
    assert [name for name in KNOWN if f"({name})" in str(error.value)] == [name for name in KNOWN if name in missing]


def test_given_fields_win_over_known_ones_and_where_it_lies_bears_no_identity():
    row = known("openmathinstruct-2", name="omi", columns={"response": "solution"}, path="/data")
    assert (row.name, row.path, row.role, row.license) == ("omi", "/data", "qa", "cc-by-4.0")
    assert (row.columns.question, row.columns.response) == ("problem", "solution")
    spelled = {key: value for key, value in row.model_dump().items() if key != "known"}
    assert semantic(SourceRecipe.model_validate(spelled)) == semantic(row)
    with pytest.raises(UserError, match="no known source 'finemath'"):
        parse({"known": "finemath"}, SourceRecipe, "test")


def test_doubts_become_drop_reasons_and_dialogues_keep_their_layout(store, tokenizer, tmp_path):
    rows = [ROWS["wildchat-1m"]["row"] | {"conversation_hash": model, "model": model} for model in ("gpt-4", "gpt-3.5")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    manifest = curate(store, corpus(tokenizer, known="wildchat-1m", path=str(tmp_path)))
    kept, dropped = sorted(manifest.read("documents").to_pylist(), key=lambda row: row["drop_reason"] or "")
    assert (kept["drop_reason"], dropped["drop_reason"]) == (None, "excluded")
    assert json.loads(dropped["drop_evidence"])["value"] == "gpt-3.5"
    texts = manifest.read("texts").to_pylist()
    assert {row["text"] for row in texts} == {ROWS["wildchat-1m"]["parts"]["text"]}


def test_what_sources_bring_becomes_columns(tokenizer, tmp_path):
    """Two sources, one with scores; the same record twice with other scores, in either order of files."""
    page = {"text": "one page", "url": "u", "score": 3, "crawl": "CC-MAIN-2023-50"}
    made = []
    for number, order in enumerate(([page, page | {"score": 4.5}], [page | {"score": 4.5}, page])):
        (tmp_path / f"{number}").mkdir()
        for name, row in zip("ab", order, strict=True):
            (tmp_path / f"{number}" / f"{name}.jsonl").write_text(json.dumps(row))
        (tmp_path / f"{number}.jsonl").write_text(json.dumps({"text": "another"}))
        brings = {"scores": {"page_score": "score"}, "metadata": ["crawl"]}
        scored = {"name": "scored", "path": str(tmp_path / f"{number}"), "role": "general"} | brings
        plain = {"name": "plain", "path": str(tmp_path / f"{number}.jsonl"), "role": "general"}
        recipe = {"name": "c", "tokenizer": str(tokenizer), "sources": [plain, scored]}
        made.append(curate(Store(tmp_path / f"store{number}"), parse(recipe, CurateRecipe, "test")))
    assert made[0].id == made[1].id
    documents = made[0].read("documents")
    assert documents.schema.field("page_score").type == pa.float64()
    assert sorted(documents["page_score"].to_pylist(), key=str) == [3.0, 4.5, None]
    assert query(made[0].store, "SELECT DISTINCT metadata->>'crawl' AS crawl FROM documents WHERE page_score > 4") == (
        pa.table({"crawl": ["CC-MAIN-2023-50"]})
    )
    with pytest.raises(UserError, match="no file has column scroe"):
        curate(made[0].store, corpus(tokenizer, **scored | {"scores": {"page_score": "scroe"}}))
    with pytest.raises(UserError, match=r"page_score is a source's score"):
        parse(recipe | {"classifier": {"model": "default", "column": "page_score"}}, CurateRecipe, "test")


@pytest.mark.parametrize("depth", [1, 5, 100, 230, 400])
def test_metadata_of_any_depth_is_the_same_from_jsonl_and_parquet(depth):
    """Parquet gives text as bytes; what is too deep for JSON is refused from either."""
    source = SourceRecipe(name="s", path="x", role="web", metadata=("m",))

    def found(leaf: Any) -> Any:
        for level in range(depth):
            leaf = {"a": leaf} if level % 2 else [leaf]
        try:
            return document({"text": "t", "m": leaf}, source).metadata
        except Refused as refused:
            return refused.args[0]

    assert found("é") == found("é".encode()) and ("é" in found("é")) == (depth < 250)
