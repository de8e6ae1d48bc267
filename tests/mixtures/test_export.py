"""Each format is opened by its own tool and holds what the manifest holds."""

import json
import tarfile
from pathlib import Path

import datasets
import duckdb
import mlcroissant
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datatrove.utils.dataset import DatatroveFolderDataset
from huggingface_hub import DatasetCard

import manifests
from curation.measures.vocabulary import Vocabulary
from manifests import tables
from manifests.errors import UserError
from manifests.exports import export as writing
from manifests.exports import files
from manifests.exports.export import FORMATS
from manifests.manifest import Draft, Manifest
from mixtures.export import export
from mixtures.mix import mix

TEMPLATE = "User:{question}\nAssistant:{text}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def prompts(store, toy, recipe) -> Manifest:
    components = [{"name": "rl", "manifest": "toy@1", "where": "role = 'rl'"}]
    return mix(store, recipe(name="prompts", kind="prompts", components=components, budget=None, sequence_length=None))


def loaded(folder: Path, name: str | None = None, split: str = "train") -> datasets.Dataset:
    return datasets.load_dataset(str(folder), name, split=split)  # type: ignore[return-value]


def kept(toy: Manifest) -> dict[str, str]:
    sql = "SELECT doc_id, text FROM documents JOIN texts USING (doc_id) WHERE drop_reason IS NULL"
    rows = manifests.open(toy.id, toy.store).sql(sql).arrow()
    return dict(zip(rows["doc_id"].to_pylist(), rows["text"].to_pylist(), strict=True))


def test_a_corpus_is_a_folder_that_datasets_opens(toy, tmp_path):
    folder = export(toy, "hf", tmp_path / "out")
    whole = loaded(folder)
    assert dict(zip(whole["doc_id"], whole["text"], strict=True)) == kept(toy)
    assert whole.num_rows == 60 - 7 + 25 + 10
    assert set(loaded(folder, "qa")["source"]) == {"qa"}
    assert whole.column_names[:2] == ["doc_id", "text"] and "drop_reason" not in whole.column_names
    assert pl.read_parquet(folder / "data/*/*.parquet").height == whole.num_rows


def test_the_card_says_where_the_data_comes_from_and_how_it_is_built_again(store, document, tmp_path):
    rows = [document("web", i, license=licence) for i, licence in enumerate(["CC-BY-4.0", "ODC-By-1.0", "house rules"])]
    texts = pa.Table.from_pylist(rows, tables.TEXTS.schema)
    rows = [row | {"n_chars": 1, "n_tokens": 2, "text_digest": "x"} for row in rows]
    draft = Draft(store, "corpus", {})
    draft.write("documents", [pa.Table.from_pylist(rows, tables.DOCUMENTS.schema)], tables.DOCUMENTS.schema)
    draft.write("texts", [texts], tables.TEXTS.schema)
    inputs = {"web": {"records": 3, "tokens": 6}}
    settings = {"name": "licensed", "sources": [{"name": "web", "path": "/home/me/secret/pages.jsonl"}]}
    settings |= {"tokenizer": "recipes/tokenizer"}
    made = draft.commit("licensed", "1", {"inputs": inputs}, settings=settings)
    card = DatasetCard.load(export(made, "hf", tmp_path / "out") / "README.md")
    front = card.data.to_dict()
    assert front["license"] == ["cc-by-4.0", "odc-by", "other"] and front["size_categories"] == ["n<1K"]
    assert {config["config_name"] for config in front["configs"]} == {"default", "web"}
    assert "| house rules | web | web | 1 | 2 |" in card.text and "| web | in |  | 3 | 6 |" in card.text
    assert "octo curate recipe.yaml" in card.text and made.id in card.text and "recipes/tokenizer" in card.text
    assert "path: pages.jsonl" in card.text and "/home" not in card.text


def test_a_mixture_is_its_documents_as_they_were_tokenised(store, toy, recipe, tokenizer, tmp_path):
    components = [
        {"name": "web", "manifest": "toy@1", "where": "role = 'web'", "weight": 3},
        {"name": "qa", "manifest": "toy@1", "where": "role = 'qa'", "weight": 2, "max_epochs": 3, "format": "turns"},
    ]
    made = mix(store, recipe(components=components, formats={"turns": TEMPLATE}))
    folder = export(made, "hf", tmp_path / "out")
    rows = loaded(folder)
    members = made.read("members").to_pylist()
    assert {(r["component"], r["ordinal"], r["doc_id"]) for r in rows} == {
        (m["component"], m["ordinal"], m["doc_id"]) for m in members
    }
    assert np.all(Vocabulary.load(tokenizer).count(rows["text"][:]) + 1 == np.array(rows["n_tokens"]))
    assert all(row["text"].startswith("User:q") for row in loaded(folder, "qa"))
    card = DatasetCard.load(folder / "README.md").text
    assert "## Mixture" in card and f"| qa | {toy.id} | role = 'qa' | 2 |" in card and "octo mix recipe.yaml" in card


def test_a_mixture_without_its_corpus_is_refused_as_rows(mixture, toy, tmp_path):
    (Path(mixture.store.root) / "manifests/toy/1.json").unlink()
    with pytest.raises(UserError, match="no manifest"):
        export(mixture, "hf", tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.parametrize("of", ["toy", "mixture", "prompts"])
def test_croissant_is_valid_and_its_records_are_the_rows(of, request, tmp_path):
    made = request.getfixturevalue(of)
    folder = export(made, "croissant", tmp_path / "out")
    described = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    assert not described.metadata.ctx.issues.errors and not described.metadata.ctx.issues.warnings
    assert described.metadata.to_json()["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    rows = loaded(folder)
    keys = [name for name in ("doc_id", "prompt_id") if name in rows.column_names]
    found = [
        tuple(record[f"{part.uuid}/{key}"].decode() for key in keys)
        for part in described.metadata.record_sets
        for record in described.records(part.uuid)
    ]
    assert sorted(found) == sorted(zip(*(rows[key][:] for key in keys), strict=True))


def test_json_lines_are_read_by_duckdb_polars_and_datasets(toy, tmp_path):
    folder = export(toy, "jsonl", tmp_path / "out")
    found = duckdb.sql(f"SELECT doc_id, text FROM '{folder}/data/*/*.jsonl.zst'").fetchall()
    assert dict(found) == kept(toy)
    (file,) = (folder / "data/qa").iterdir()
    assert pl.read_ndjson(file).height == 25
    assert datasets.load_dataset("json", data_files=str(file), split="train").num_rows == 25  # type: ignore[union-attr]


def test_webdataset_samples_are_a_text_and_its_columns(toy, tmp_path):
    folder = export(toy, "webdataset", tmp_path / "out")
    shards = [str(path) for path in sorted(folder.glob("data/*/*.tar"))]
    rows = datasets.load_dataset("webdataset", data_files=shards[:1], split="train", streaming=True)
    assert {row["json"]["doc_id"]: row["txt"] for row in rows}.items() <= kept(toy).items()  # type: ignore[index]
    names = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            names += tar.getnames()
    assert len(names) == len(set(names)) == 2 * len(kept(toy))


def test_token_files_are_read_by_datatrove_as_by_the_manifest(mixture, tokenizer, tmp_path):
    folder = export(mixture, "nanoset", tmp_path / "out")
    settings = yaml.safe_load((folder / "nanoset.yaml").read_text())
    assert dict(zip(settings["dataset_folder"], settings["dataset_weights"], strict=True)) == {
        row["component"]: row["share"] for row in mixture.read("components").to_pylist()
    }
    for name in settings["dataset_folder"]:
        size = settings["token_size_in_bytes"]
        rows = DatatroveFolderDataset(str(folder / name), 15, "*.ds", token_size=size, return_positions=True)
        stored = np.fromfile(mixture.local("tokens")[f"{name}.ds"], f"<u{size}")
        assert len(rows) == len(stored) // 16
        assert rows[1]["input_ids"].tolist() == stored[16:32].tolist()
    assert Vocabulary.load(folder / settings["tokenizer_name"]).digest == Vocabulary.load(tokenizer).digest


def test_prompts_are_what_verl_reads(prompts, tmp_path):
    rows = pl.read_parquet(export(prompts, "verl", tmp_path / "out") / "train.parquet").to_dicts()
    asked = prompts.read("prompts").to_pylist()
    assert [row["prompt"] for row in rows] == [[{"role": "user", "content": row["question"]}] for row in asked]
    assert [row["reward_model"] for row in rows] == [{"style": "rule", "ground_truth": row["answer"]} for row in asked]
    assert [row["extra_info"]["index"] for row in rows] == [row["position"] for row in asked]
    assert {row["data_source"] for row in rows} == {"rl"} and {row["ability"] for row in rows} == {"math"}


def test_small_tables_make_no_small_row_groups(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "ROWS_PER_BLOCK", 8)
    folder = export(toy, "hf", tmp_path / "out")
    assert [pq.ParquetFile(file).num_row_groups for file in folder.glob("data/*/*.parquet")] == [1, 1, 1]


def test_files_are_cut_by_size(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BYTES_PER_FILE", 1)
    monkeypatch.setattr(writing, "ROWS_PER_BLOCK", 8)
    folder = export(toy, "hf", tmp_path / "out")
    names = sorted(path.name for path in (folder / "data/web").iterdir())
    assert len(names) > 3 and names[0] == f"train-00000-of-{len(names):05d}.parquet"
    assert dict(zip(loaded(folder)["doc_id"], loaded(folder)["text"], strict=True)) == kept(toy)


@pytest.mark.parametrize(
    ("of", "format"), [("toy", "nanoset"), ("toy", "verl"), ("mixture", "verl"), ("prompts", "nanoset"), ("toy", "csv")]
)
def test_a_format_that_does_not_fit_is_one_line(of, format, request, tmp_path):
    with pytest.raises(UserError, match=f"there is no format|the format {format} holds") as said:
        export(request.getfixturevalue(of), format, tmp_path / "out")
    assert all(name in str(said.value) for name in FORMATS[:4])
    assert list(tmp_path.glob("out*")) == []


def test_a_folder_that_holds_anything_is_left_alone(toy, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        export(toy, "jsonl", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert (export(toy, "jsonl", tmp_path / "empty") / "data").is_dir()


def test_a_damaged_manifest_is_not_exported(toy, tmp_path):
    file = toy.store.local(toy.files("texts")[0].path)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="is not what"):
        export(toy, "hf", tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def test_a_corpus_that_kept_nothing_is_said_so(corpus, document, tmp_path):
    with pytest.raises(UserError, match="no row to export"):
        export(corpus([document("web", 1, drop_reason="too_short")]), "hf", tmp_path / "out")


def test_the_metadata_names_no_place_of_this_machine(toy, tmp_path):
    folder = export(toy, "croissant", tmp_path / "out")
    plain = json.loads((folder / "croissant.json").read_text())
    files = [entry["contentUrl"] for entry in plain["distribution"] if "contentUrl" in entry]
    assert files and all((folder / file).is_file() for file in files)
    assert str(tmp_path) not in json.dumps(plain)
