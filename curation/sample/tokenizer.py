"""How the quickstart's tokenizer was made: `python -m curation.sample.tokenizer recipes/quickstart/tokenizer`.

A byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) of 768 tokens, trained on pages and problems of the
built-in sample. Every digit is a token of its own, so that column arithmetic is the same at every place of a number.
The two files are committed and manifests name their digest: making them again is only needed when the sample's words
change. Leaves out everything a general tokenizer needs.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curation.sample.pages import general_page, math_page
from curation.sample.problems import problems

SIZE = 768
END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and the tokenizer_config.json that transformers wants beside it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _texts() -> Iterator[str]:
    draw = random.Random("tokenizer")
    for problem in problems(0, 1000, "train"):
        yield f"Question:\n{problem.question}\nAnswer:\n{problem.short}"
        yield f"Question:\n{problem.question}\nAnswer:\n{problem.cot}"
        yield math_page(draw) if draw.random() < 0.8 else general_page(draw)


if __name__ == "__main__":
    train_tokenizer(Path(sys.argv[1]))
