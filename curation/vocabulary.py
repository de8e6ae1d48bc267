"""A tokenizer as the project uses it: counts and flat arrays of token IDs, never Python lists of documents.

Promises. `digest` is the SHA-256 of tokenizer.json, so equal digests give equal tokens. Text of a document that spells
a special token (`<|endoftext|>`) is encoded as plain text: a document cannot end itself. No BOS or EOS is added. The
engine is Hugging Face `tokenizers`, some 2 MB/s per core. Leaves out: chat templates, decoding.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from manifests.errors import UserError
from manifests.store import file_sha256

PROJECT = Path(__file__).resolve().parent.parent
END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""Names under which tokenizers know the end of a document, in order of preference."""
BATCH = 1024


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer.json, loaded. `size` counts IDs, `eos_id` ends a document."""

    path: Path
    digest: str
    size: int
    eos_id: int
    tokenizer: Tokenizer

    @classmethod
    def load(cls, place: str | Path) -> "Vocabulary":
        """From a tokenizer.json or a folder with one, looked for in the working directory and then in the project.

        Raises UserError when there is none, when it is damaged, or when it has no end-of-text token.
        """
        path = locate(place)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception for whatever it cannot read
            raise UserError(
                f"{path} is no tokenizer: {error}", "Give a tokenizer.json as transformers saves it"
            ) from error
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.no_truncation()
        eos = next((token for token in END_OF_TEXT if tokenizer.token_to_id(token) is not None), None)
        if eos is None:
            raise UserError(f"{path} has no end-of-text token", f"It needs one of {', '.join(END_OF_TEXT)}")
        return cls(path, file_sha256(path), tokenizer.get_vocab_size(), tokenizer.token_to_id(eos), tokenizer)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The narrowest type that holds every ID."""
        return np.uint16 if self.size <= 1 << 16 else np.uint32

    def count(self, texts: list[str]) -> np.ndarray:
        """Tokens of each text, int64, without EOS."""
        return np.diff(self.encode(texts)[1])

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """All tokens end to end, and int64 offsets: text i is `tokens[offsets[i]:offsets[i + 1]]`."""
        lengths, pieces = np.zeros(len(texts), np.int64), [np.empty(0, self.dtype)]
        for start in range(0, len(texts), BATCH):
            encoded = self.tokenizer.encode_batch_fast(texts[start : start + BATCH], add_special_tokens=False)
            for position, encoding in enumerate(encoded, start):
                pieces.append(np.asarray(encoding.ids, self.dtype))
                lengths[position] = len(pieces[-1])
        return np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)])


def locate(place: str | Path) -> Path:
    """The tokenizer.json that `place` means."""
    for base in (Path(), PROJECT):
        path = base / place
        path = path / "tokenizer.json" if path.is_dir() else path
        if path.is_file():
            return path
    raise UserError(f"no tokenizer at {place}", "Give a tokenizer.json or the folder that holds one")
