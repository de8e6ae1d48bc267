"""The same checkpoint and items in lm-evaluation-harness and here: responses and verdicts, item by item.

    python -m benchmarks.harness MODEL_DIR ITEMS.jsonl [--limit N] [--tokens N] [--shots N]

ITEMS is a file of GSM8K's shape. Both are given the prompt of our task `gsm8k`, decode greedily in float32 and stop at
the same string; each extracts and compares by its own rules, the harness by those of its task gsm8k (flexible-extract,
exact_match). Prints both accuracies, the items on which responses or verdicts differ, and what each extracted there.
Needs lm_eval (0.4.13 was used) in the environment.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"

import lm_eval
from lm_eval.tasks import TaskManager

from evaluation.benchmarks import BenchmarkRecipe, freeze_benchmark
from evaluation.config import EvalRecipe
from evaluation.scores import evaluate
from evaluation.tasks import prompt, task_of
from manifests.store import Store

TASK = """
task: octo_items
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}, cache_dir: {cache}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{gold}}}}"
target_delimiter: ""
generation_kwargs: {{until: ["\\nQ:"], do_sample: false, temperature: 0.0, max_gen_toks: {tokens}}}
filter_list:
  - name: flexible-extract
    filter:
      - {{function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{{2,}})|(-?[0-9]+)"}}
      - {{function: take_first}}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore: [",", "\\\\$", "(?s).*#### ", "\\\\.$"]
"""
Row = dict[str, Any]


def compare(model: Path, items: Path, limit: int, tokens: int, shots: int) -> list[Row]:
    """One row per item: response, extracted answer and verdict of either."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        benchmark = freeze_benchmark(store, BenchmarkRecipe(name="gsm8k", path=str(items)))
        rows = benchmark.read("items").slice(0, limit).to_pylist()
        recipe = EvalRecipe(template="few_shot", shots=shots, max_new_tokens=tokens, limit=limit)
        samples = evaluate(store, model, [benchmark], recipe).table("samples")
        assert samples is not None
        ours = {row["item_id"]: row for row in samples.to_pylist()}
        asked = [prompt(task_of("gsm8k"), row, "few_shot", shots) for row in rows]
        theirs = _harness(model, Path(folder), asked, [row["answer"] for row in rows], tokens)
    return [
        {
            "item": row["item_id"],
            "gold": row["answer"],
            "our_response": ours[row["item_id"]]["response"],
            "their_response": said["resps"][0][0],
            "our_answer": ours[row["item_id"]]["extracted"],
            "their_answer": said["filtered_resps"][0],
            "we_say": ours[row["item_id"]]["verdict"] == "CORRECT",
            "they_say": bool(said["exact_match"]),
        }
        for row, said in zip(rows, theirs, strict=True)
    ]


def _harness(model: Path, folder: Path, prompts: list[str], golds: list[str], tokens: int) -> list[Row]:
    items = folder / "items.jsonl"
    lines = [json.dumps({"prompt": asked, "gold": gold}) for asked, gold in zip(prompts, golds, strict=True)]
    items.write_text("\n".join(lines) + "\n")
    (folder / "task.yaml").write_text(TASK.format(items=items, cache=folder / "cache", tokens=tokens))
    made = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32"},
        tasks=["octo_items"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        device="cpu",
        batch_size=1,
        bootstrap_iters=0,
        log_samples=True,
    )
    assert made
    return sorted(made["samples"]["octo_items"], key=lambda row: row["doc_id"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--shots", type=int, default=0)
    given = parser.parse_args()
    rows = compare(given.model, given.items, given.limit, given.tokens, given.shots)
    print(f"items {len(rows)}, ours {sum(row['we_say'] for row in rows)} right, harness "
          f"{sum(row['they_say'] for row in rows)} right")  # fmt: skip
    print(f"other response: {sum(row['our_response'] != row['their_response'] for row in rows)}")
    for row in rows:
        if row["we_say"] != row["they_say"]:
            print(json.dumps(row, ensure_ascii=False))
    print(f"other verdict: {sum(row['we_say'] != row['they_say'] for row in rows)}")


if __name__ == "__main__":
    main()
