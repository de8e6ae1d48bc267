"""Started by test_nanotron.py: `python nanotron_logits.py FOLDER SCRATCH` prints how far nanotron's logits lie from
transformers' for the model in FOLDER, on documents of uneven length, attention across them and within them."""

import os
import sys
from pathlib import Path

import torch
import yaml
from transformers import AutoModelForCausalLM

from training import nanotron_backend, nanotron_weights
from training.config import TrainRecipe
from training.models import described
from training.nanotron_config import Mixture, to_nanotron

from nanotron import trainer as nanotron_trainer  # type: ignore[import-not-found]  # isort: skip  # after the adapter


class Model(nanotron_trainer.DistributedTrainer):
    """Nanotron's trainer, which alone knows how to build a model, with the weights of a folder."""

    folder: Path

    def _load_model_checkpoint(self, model):
        nanotron_weights.load(self.folder, model)
        nanotron_backend._scale_rotary(model, self.folder)
        return model


def main(folder: Path, scratch: Path) -> float:
    model = described(folder)
    length = model.max_position_embeddings
    recipe = TrainRecipe(stage="s", model=model, optimizer={"lr": 1.0}, batch_sequences=1)
    config = to_nanotron(recipe, Mixture(length, model.vocab_size or 0, 0, (1,)))
    (scratch / "nanotron.yaml").write_text(yaml.safe_dump(config))
    Model.folder = folder
    nanotron = Model(str(scratch / "nanotron.yaml")).unwrapped_model.model
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(0, model.vocab_size or 0, (2, length), generator=torch.Generator().manual_seed(0))
    whole = torch.arange(length).expand(2, -1)
    cut = torch.cat([torch.arange(length // 3), torch.arange(length - length // 3)]).expand(2, -1)
    worst = 0.0
    for places in (whole, cut):
        with torch.no_grad():
            ours = nanotron(input_ids=ids, position_ids=places.contiguous()).view(2, length, -1)
            worst = max(worst, (ours - reference(ids, position_ids=places, use_cache=False).logits).abs().max().item())
    return worst


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
    os._exit(0)
