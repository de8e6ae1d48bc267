"""Benchmark files in their real shapes become items; what is no item is named or kept aside."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.benchmarks import KNOWN, BenchmarkRecipe, freeze_benchmark, freeze_folder, listing, suite
from manifests.errors import UserError
from manifests.manifest import verify
from manifests.store import Store

SHAPES = {
    "gsm8k": [
        {"question": "Ann has 2 pens and buys 3. How many?", "answer": "5", "cot": "2+3=<<2+3=5>>5", "id": "gsm8k-0"},
        {"question": "Bo eats 4 of 1,204 nuts. How many are left?", "answer": "1204-4=1,200\n#### 1,200"},
    ],
    "math500": [
        {
            "problem": "Compute $1+1$.",
            "solution": "It is $\\boxed{2}$.",
            "answer": "2",
            "subject": "Algebra",
            "level": 1,
            "unique_id": "test/algebra/1.json",
        }
    ],
    "olympiad_bench": [
        {
            "id": 7,
            "subfield": "Algebra",
            "context": None,
            "question": "Find all $x$ with $x^2=4$.",
            "solution": ["One way.", "Another."],
            "final_answer": ["$2$", "$-2$"],
            "unit": None,
        },
        {"id": 8, "context": "Let $n=3$.", "question": "Find $n^2$.", "final_answer": ["$9$"], "solution": None},
    ],
    "amc23": [{"id": 0, "problem": "Six times nine?", "answer": 54.0, "url": "https:\\/\\/x", "question": "Six…"}],
    "svamp": [
        {"Answer": 9.0, "Question": "How many now?", "Body": "Al had 4 figs and got 5.", "Type": "Sum", "ID": "c-1"}
    ],
    "asdiv": [
        {"body": "Di has 4 cups.", "question": "How many?", "solution_type": "Sum", "answer": "4 (cups)", "idx": 0},
        {"body": "A is to B as 2 to 3.", "question": "Ratio?", "solution_type": "Ratio", "answer": "2:3", "idx": 1},
    ],
    "mawps": [{"input": "Ed has 2.5 kg. How much?", "target": 2.5, "type": "singleop", "idx": 3}],
    "sat": [
        {"id": "0", "question": "What is $f(0)$?", "options": "A) $f(1)$ B) 2 C) 3 D) 4 and A", "Answer": "A"},
        {"id": "1", "question": "How many?", "options": "A. 1,190 B. 1,900 C. 2,900 D. 19,000", "Answer": "C"},
    ],
    "mathqa": [
        {
            "problem": "x = 3 ?",
            "options": "a ) 1 , 000 , b ) 2 , c ) 3 , d ) 4 , e ) 5",
            "correct": "c",
            "type": "gain",
        },
        {"problem": "y = 2 ?", "options": "['a ) 1', 'b ) 2', 'c ) 3 % d', 'd ) 4', 'e ) none']", "correct": "b"},
    ],
    "mmlu_stem": [{"question": "Largest?", "options": ["1", "2", "3", "4"], "answer": "D", "topic": "maths", "id": 0}],
    "math": [
        {"problem": "Add 1 and 1.", "level": "Level 5", "type": "Algebra", "solution": r"So \boxed{\frac{4}{2}}."},
        {"problem": "Add 1 and 2.", "level": "Level ?", "type": "Algebra", "solution": r"It is $\boxed{3}$."},
    ],
    "tabmwp": [
        {
            "question": "How many?",
            "choices": None,
            "answer": "1,200",
            "unit": None,
            "table_title": "Nuts",
            "table": "Day | Nuts\nMon | 1,200",
            "ques_type": "free_text",
            "grade": 3,
        },
        {
            "question": "Who?",
            "choices": ["Ed", "Al"],
            "answer": "Al",
            "table_title": None,
            "table": "Al | 3\nEd | 2",
            "ques_type": "multi_choice",
            "grade": 4,
        },
    ],
    "gpqa_diamond": [
        {
            "Question": "Which?",
            "Correct Answer": "this",
            "Incorrect Answer 1": "a",
            "Incorrect Answer 2": "b",
            "Incorrect Answer 3": "c",
            "Record ID": "rec1",
            "Subdomain": "Physics",
            "Explanation": "so",
        },
    ],
    "aime24": [{"id": 60, "problem": "Find it.", "solution": "It is 25.", "answer": "025", "url": "u", "year": "2024"}],
    "aime25": [{"problem": "Find it.", "answer": "70", "id": "0"}],
    "ocw": [{"problem": "Width in cm?", "solution": "\\boxed{1e11}.", "answer": "1e11", "id": "136"}],
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def frozen(store, tmp_path, name, rows, end="", **fields):
    """The manifest of `rows` written as JSONL, the last line without its end."""
    path = tmp_path / f"{name}.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return freeze_benchmark(store, BenchmarkRecipe(name=name, path=str(path), **fields))


def items(manifest):
    return manifest.read("items").to_pylist()


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_shape_is_read_and_its_id_is_stable(store, tmp_path, name):
    manifest = frozen(store, tmp_path, name, SHAPES[name])
    assert manifest.kind == "benchmark" and manifest.counts["items"] == len(SHAPES[name])
    assert verify(store, manifest) == []
    assert frozen(store, tmp_path, name, SHAPES[name], end="\n").id == manifest.id
    assert all(item["benchmark"] == name and item["split"] == KNOWN[name].split for item in items(manifest))


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("gsm8k", ["5", "1,200"]),
        ("olympiad_bench", ["2, -2", "$9$"]),
        ("amc23", ["54"]),
        ("svamp", ["9"]),
        ("asdiv", ["4", "2:3"]),
        ("mawps", ["2.5"]),
        ("sat", ["A", "C"]),
        ("mathqa", ["C", "B"]),
        ("mmlu_stem", ["D"]),
        ("ocw", ["1e11"]),
        ("math", [r"\frac{4}{2}", "3"]),
        ("tabmwp", ["1,200", "B"]),
        ("aime24", ["025"]),
    ],
)
def test_reference_answers(store, tmp_path, name, answers):
    assert [item["answer"] for item in items(frozen(store, tmp_path, name, SHAPES[name]))] == answers


def test_choices_are_split_at_their_letters(store, tmp_path):
    def choices(name):
        return [json.loads(item["choices"]) for item in items(frozen(store, tmp_path, name, SHAPES[name]))]

    assert choices("sat") == [["$f(1)$", "2", "3", "4 and A"], ["1,190", "1,900", "2,900", "19,000"]]
    assert choices("mathqa") == [["1 , 000", "2", "3", "4", "5"], ["1", "2", "3 % d", "4", "none"]]


def test_questions_carry_their_body_and_context(store, tmp_path):
    assert items(frozen(store, tmp_path, "svamp", SHAPES["svamp"]))[0]["question"].startswith("Al had 4 figs")
    assert items(frozen(store, tmp_path, "olympiad_bench", SHAPES["olympiad_bench"]))[1]["question"].startswith("Let")


def test_a_file_of_ones_own_is_plain(store, tmp_path):
    rows = [{"question": "1+1?", "answer": 2}, {"question": "1+1?", "answer": 2}, {"question": "2+2?", "answer": "4"}]
    found = items(frozen(store, tmp_path, "mine", rows))
    assert [item["answer"] for item in found] == ["2", "2", "4"]
    assert len({item["item_id"] for item in found}) == 3
    reordered = items(frozen(store, tmp_path, "mine", rows[::-1], version="2"))
    assert {item["item_id"] for item in reordered} == {item["item_id"] for item in found}


BAD = [
    {"question": "1+1?", "answer": "2", "id": "a"},
    {"question": "no answer", "answer": None, "id": "b"},
    {"answer": "3", "id": "c"},
    "{ not json",
    '"a text"',
    {"question": "twice", "answer": "2", "id": "a"},
    {"question": "nan", "answer": float("nan")},
    {"question": "list", "answer": [1]},
]


def test_bad_rows_are_refused_with_their_lines(store, tmp_path):
    with pytest.raises(UserError, match=r"line 2: no `answer`; line 3: no `question`; line 4: .*and 4 more"):
        frozen(store, tmp_path, "mine", BAD)


def test_bad_rows_are_quarantined_if_the_recipe_says_so(store, tmp_path):
    manifest = frozen(store, tmp_path, "mine", BAD, bad_rows="quarantine")
    assert manifest.counts == {"items": 1, "quarantined": 7}
    kept = manifest.read("quarantine").to_pylist()
    assert [row["position"] for row in kept] == [1, 2, 3, 4, 5, 6, 7]
    assert kept[4]["reason"] == "duplicate_id" and kept[2]["reason"] == "invalid_json"


def test_broken_bytes_are_named_by_line(store, tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"question": "a", "answer": "1"}\n{"question": "\xe9", "answer": "1"}\n')
    with pytest.raises(UserError, match="line 2: 'utf-8' codec"):
        freeze_benchmark(store, BenchmarkRecipe(name="mine", path=str(path)))


HUB_SHAPES = {
    "amc23": ({"id": 0, "question": "Six times nine?", "answer": "54.0", "url": "u"}, "54.0"),
    "mathqa": ({"Problem": "x = 3 ?", "Rationale": "r", "options": "a ) 1 , b ) 3", "correct": "b"}, "B"),
    "mmlu_stem": ({"question": "Largest?", "subject": "maths", "choices": ["1", "2"], "answer": 1}, "B"),
    "mawps": ({"Question": "Ed has N_00 figs and N_01 more.", "Numbers": "4.0 2.5", "Answer": "6.0"}, "6"),
}


@pytest.mark.parametrize("name", HUB_SHAPES)
def test_shapes_of_the_hub_are_read(store, tmp_path, name):
    row, answer = HUB_SHAPES[name]
    (item,) = items(frozen(store, tmp_path, name, [row]))
    assert item["answer"] == answer and "N_0" not in item["question"]


def test_options_of_gpqa_lie_in_an_order_of_their_own(store, tmp_path):
    rows = [SHAPES["gpqa_diamond"][0] | {"Question": f"Which {i}?", "Record ID": f"r{i}"} for i in range(40)]
    found = items(frozen(store, tmp_path, "gpqa_diamond", rows))
    assert {item["answer"] for item in found} == set("ABCD")
    assert all(json.loads(item["choices"])[ord(item["answer"]) - ord("A")] == "this" for item in found)


def test_one_content_in_any_kind_of_file_is_one_manifest(store, tmp_path):
    rows = SHAPES["gpqa_diamond"]
    wanted = frozen(store, tmp_path, "gpqa_diamond", rows).digest
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text(json.dumps(rows))
    with (tmp_path / "c.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for path in tmp_path.glob("?.*"):
        again = BenchmarkRecipe(name="gpqa_diamond", version=path.suffix[1:], path=str(path))
        assert freeze_benchmark(store, again).digest == wanted
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(UserError, match="cannot read benchmark file"):
        freeze_benchmark(store, BenchmarkRecipe(name="x", path=str(tmp_path / "a.parquet")))


def test_the_hub_needs_a_commit(store):
    with pytest.raises(UserError, match=r"no commit of openai/gsm8k is pinned\. Give revision="):
        freeze_benchmark(store, BenchmarkRecipe(name="gsm8k"))
    with pytest.raises(UserError, match="'main' is no commit"):
        freeze_benchmark(store, BenchmarkRecipe(name="gsm8k", revision="main"))
    with pytest.raises(UserError, match="benchmark mine has no path"):
        freeze_benchmark(store, BenchmarkRecipe(name="mine"))


def test_a_folder_and_a_suite(store, tmp_path):
    for name in ("gsm8k", "amc23"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(SHAPES[name][0]))
    made = freeze_folder(store, str(tmp_path))
    assert [manifest.name for manifest in made] == ["gsm8k", "amc23"]
    found, missing = suite(store, "indicators")
    assert [manifest.name for manifest in found] == ["gsm8k", "amc23"] and missing == ["math500", "olympiad_bench"]
    assert suite(store, "gsm8k") == ([made[0]], [])
    assert {row["here"] for row in listing(store)} == {"", "gsm8k@1", "amc23@1"}
    with pytest.raises(UserError, match="holds no benchmark of aime"):
        suite(store, "aime")
    with pytest.raises(UserError, match="no suite or benchmark 'zen'"):
        suite(store, "zen")
    with pytest.raises(UserError, match="no file of sat in"):
        freeze_folder(store, str(tmp_path), ["sat"])
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps(SHAPES["gsm8k"][1]))
    freeze_folder(store, str(tmp_path), ["gsm8k"], version="2")
    with pytest.raises(UserError, match="gsm8k is there as gsm8k@1, gsm8k@2"):
        suite(store, "gsm8k")


def test_what_cannot_be_frozen_is_said(store, tmp_path):
    with pytest.raises(UserError, match="holds no items"):
        frozen(store, tmp_path, "empty", [])
    with pytest.raises(UserError, match="cannot read benchmark file"):
        freeze_benchmark(store, BenchmarkRecipe(name="x", path=str(tmp_path / "missing.jsonl")))
    with pytest.raises(UserError, match="no benchmark adapter 'gsm9k'"):
        frozen(store, tmp_path, "mine", SHAPES["gsm8k"], adapter="gsm9k")
    with pytest.raises(UserError, match="cannot be split into letters"):
        frozen(store, tmp_path, "sat", [{"question": "q", "options": "1, 2, 3", "Answer": "A"}])
    with pytest.raises(UserError, match="'F' is none of the 4 options"):
        frozen(store, tmp_path, "mmlu_stem", [SHAPES["mmlu_stem"][0] | {"answer": "F"}])


def test_configuration_and_benchmarks_load_no_engine():
    modules = "sys, evaluation.config, evaluation.benchmarks, evaluation.protocols.templates"
    code = f"import {modules}; print({{'torch', 'datatrove', 'sympy'}} & set(sys.modules))"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert said.stdout.strip() == "set()"
