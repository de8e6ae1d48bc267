"""Benchmark files in their real shapes become items; what is no item is named or kept aside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.benchmarks import KNOWN, BenchmarkRecipe, freeze_benchmark
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
    modules = "sys, evaluation.config, evaluation.benchmarks, evaluation.templates"
    code = f"import {modules}; print({{'torch', 'datatrove', 'sympy'}} & set(sys.modules))"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert said.stdout.strip() == "set()"
