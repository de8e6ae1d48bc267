"""The optimizer's state on its way into nanotron's ranks; runs without nanotron. The rest is in test_nanotron.py."""

from types import SimpleNamespace

import torch

from training import nanotron_weights
from training.checkpoints import write_checkpoint
from training.config import ModelRecipe, OptimizerRecipe
from training.nanotron_weights import Piece, load_means
from training.torch_backend import adamw, new_model

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_all_of_the_optimizers_state_lies_where_the_weights_do(tmp_path, monkeypatch):
    """The count of steps too: on a GPU the fused kernel reads it there, whatever lies at that address."""
    model = new_model(ModelRecipe(**SHAPE, max_position_embeddings=8), 8, 0)
    optimizer = adamw(model, OptimizerRecipe(lr=0.01))
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    write_checkpoint(tmp_path / "start", model, optimizer.state_dict(), tmp_path)
    there = torch.empty(16, device="meta")
    there.is_sharded = False
    piece = Piece("model.final_layer_norm.pp_block.weight", there, there)
    monkeypatch.setattr(nanotron_weights, "pieces", lambda *_: [piece])
    base = SimpleNamespace(state={})
    load_means(tmp_path / "start", None, None, base)
    assert {name: str(found.device) for name, found in base.state[there].items()} == {
        "step": "meta",
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }
