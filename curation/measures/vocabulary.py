"""A tokenizer that returns counts and flat arrays of token IDs, never Python lists of documents.

Promises. `digest` is the SHA-256 of tokenizer.json, so equal digests give equal tokens. Text of a document that spells
a special token (`<|endoftext|>`) is encoded as plain text: a document cannot end itself. No BOS or EOS is added.

Hugging Face `tokenizers` is the reference, at some 3 MB/s per core. gigatoken gives the same tokens 40 times faster and
is used if it can read the file and agrees on PROBES; it supports the pre-tokenizers of published models (GPT-2, Llama
3, Qwen, DeepSeek and others), not every one. It caches every word, some 90 bytes each, for the life of the process.
Leaves out: chat templates, decoding.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import gigatoken
import numpy as np
from tokenizers import Tokenizer

from manifests.errors import UserError
from manifests.hub_errors import hub_errors
from manifests.shipped import shipped
from manifests.store import file_sha256

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""Names under which tokenizers know the end of a document, in order of preference."""
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?")
BATCH = 1024
PIECES = (
    "the sum of", "Théorème", "x", "I'll", "DON'T", "_name", "https://a.b/c?d=1", "$", r"\frac{1}{2}", "12345", "3.14",
    " ", "   ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u3000", "数学の問題", "العدد", "Σ∑≤", "é", "e\u0301",
    "ǅ", "²½Ⅷ", "٣", "😀", "👩\u200d🔬", "\x00", "\ufeff", "...", "?!", "'s", "—", "=====", "ZZZZZZZZ", "ab" * 600,
)  # fmt: skip
"""Parts of the probes: text for which tokenizers are known to differ."""
PROBES = 400


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer.json, loaded. `size` counts IDs, `eos_id` ends a document."""

    path: Path
    digest: str
    size: int
    eos_id: int
    tokenizer: Tokenizer
    fast: gigatoken.Tokenizer | None

    @classmethod
    def load(cls, place: str | Path) -> "Vocabulary":
        """From a tokenizer.json or a folder with one, looked for in the working directory and then in the project, or
        from a model of the hub (`ORG/NAME` or `ORG/NAME@REVISION`).

        Raises UserError when there is none, when it is damaged, or when it has no end-of-text token.
        """
        path = locate(place)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception for whatever it cannot read
            raise UserError(
                f"{path} is not a tokenizer: {error}", "Give a tokenizer.json as transformers saves it"
            ) from error
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.no_truncation()
        eos = next((token for token in END_OF_TEXT if tokenizer.token_to_id(token) is not None), None)
        if eos is None:
            raise UserError(f"{path} has no end-of-text token", f"It needs one of {', '.join(END_OF_TEXT)}")
        size, eos_id, fast = tokenizer.get_vocab_size(), tokenizer.token_to_id(eos), _fast(path, tokenizer)
        return cls(path, file_sha256(path), size, eos_id, tokenizer, fast)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The narrowest type that holds every ID."""
        return np.uint16 if self.size <= 1 << 16 else np.uint32

    def count(self, texts: list[str]) -> np.ndarray:
        """Tokens of each text, int64, without EOS."""
        return np.diff(self.encode(texts)[1])

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """All tokens, concatenated, and int64 offsets: text i is `tokens[offsets[i]:offsets[i + 1]]`."""
        pieces = [np.empty(0, self.dtype)]
        for start in range(0, len(texts), BATCH):
            pieces += self._pieces(texts[start : start + BATCH])
        return np.concatenate(pieces, dtype=self.dtype, casting="same_kind"), np.cumsum([len(one) for one in pieces])

    def _pieces(self, texts: list[str]) -> list[np.ndarray]:
        """The tokens of each text. One text at a time is as fast as gigatoken's batches, needs no awkward array and
        starts no threads, which would be in the way of other workers."""
        if self.fast:
            return [self.fast.encode(text) for text in texts]
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.asarray(encoding.ids, self.dtype) for encoding in encoded]


def _fast(path: Path, oracle: Tokenizer) -> gigatoken.Tokenizer | None:
    """gigatoken with the tokenizer at `path`, or None if it cannot read that or differs from the `oracle`. It is given
    no special tokens, so that it encodes their text as plain text, as the oracle does.
    """
    plain = json.loads(path.read_bytes())
    special = [token["content"] for token in plain.get("added_tokens", ()) if token["special"]]
    plain["added_tokens"] = [token for token in plain.get("added_tokens", ()) if not token["special"]]
    try:
        fast = gigatoken.Tokenizer.from_json(json.dumps(plain))
    except RuntimeError:  # what its loader raises for whatever it does not know
        return None
    probes = _probes(special)
    expected = oracle.encode_batch_fast(probes, add_special_tokens=False)
    same = all(fast.encode(probe).tolist() == one.ids for probe, one in zip(probes, expected, strict=True))
    return fast if same else None


def _probes(special: list[str]) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices((*PIECES, *special), k=draw.randint(1, 20))) for _ in range(PROBES)]


def locate(place: str | Path) -> Path:
    """The tokenizer.json that `place` means."""
    for path in (Path(place), shipped(place)):
        path = path / "tokenizer.json" if path.is_dir() else path
        if path.is_file():
            return path
    if model := HUB_ID.fullmatch(str(place)):
        return _from_hub(model[1], model[2])
    raise UserError(f"no tokenizer at {place}", "Give a tokenizer.json, the folder that holds one, or a hub ID")


def _from_hub(model: str, revision: str | None) -> Path:
    """The tokenizer.json of a model, from the hub or from the copy that an earlier download left."""
    # Importing the hub's client takes a third of a second, which a local file does not need
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415

    cached = try_to_load_from_cache(model, "tokenizer.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:  # asks for the commit first: that fails at once without a network, where a download tries for half a minute
        return Path(hf_hub_download(model, "tokenizer.json", revision=HfApi().model_info(model, revision=revision).sha))
    except (*hub_errors(), EntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"no tokenizer at {model}, here or on the hub: {reason}", "Give a folder that holds one"
        ) from error
