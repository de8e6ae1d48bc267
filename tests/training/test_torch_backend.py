"""The arithmetic of a step: which labels count, and that the cut into micro-batches does not."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from mixtures.reader import Batch
from training.config import ModelRecipe
from training.torch_backend import (
    CAUSAL,
    NO_LABEL,
    accumulate,
    attend_without_mask,
    inputs_and_labels,
    loss_of,
    new_model,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    shape = ModelRecipe(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    return new_model(shape, vocab_size=50, eos_id=0)


def test_the_first_token_of_a_document_is_no_label():
    tokens, segment = np.array([[1, 2, 0, 5, 6, 0, 7]]), np.array([[0, 0, 0, 1, 1, 1, 2]])
    inputs, labels = inputs_and_labels(Batch(tokens, segment, [], pa.table({})))
    assert inputs.tolist() == [[1, 2, 0, 5, 6, 0]]
    assert labels.tolist() == [[2, 0, NO_LABEL, 6, 0, NO_LABEL]]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Six sequences whose numbers of labels differ much, one without any."""
    torch.manual_seed(1)
    inputs, labels = torch.randint(1, 50, (6, 12)), torch.randint(1, 50, (6, 12))
    for line, masked in enumerate((0, 11, 5, 12, 3, 8)):
        labels[line, :masked] = NO_LABEL
    return inputs, labels


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 5])
def test_micro_batches_do_not_change_loss_or_gradient(model, micro_batch):
    inputs, labels = batch()
    whole = accumulate(model, inputs, labels, None).item()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    assert accumulate(model, inputs, labels, micro_batch).item() == pytest.approx(whole, rel=1e-6)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-7)


def test_the_loss_is_the_mean_over_labels(model):
    inputs, labels = batch()
    logprobs = torch.log_softmax(model(inputs).logits, -1)
    nats = [-logprobs[b, s, labels[b, s]].item() for b in range(6) for s in range(12) if labels[b, s] != NO_LABEL]
    assert accumulate(model, inputs, labels, 2).item() == pytest.approx(sum(nats) / len(nats), rel=1e-5)


def test_bfloat16_is_close(model):
    inputs, labels = batch()
    exact = accumulate(model, inputs, labels, None).item()
    model.zero_grad()
    assert accumulate(model, inputs, labels, None, "bfloat16").item() == pytest.approx(exact, rel=0.02)


def test_attention_without_a_mask_is_the_same(model):
    inputs, labels = batch()
    masked = accumulate(model, inputs, labels, None)
    attend_without_mask(model)
    assert model.config._attn_implementation == CAUSAL
    assert torch.equal(accumulate(model, inputs, labels, None), masked)


def test_a_window_of_attention_keeps_its_mask(model):
    model.config.layer_types = ["full_attention", "sliding_attention"]
    attend_without_mask(model)
    assert model.config._attn_implementation == "sdpa"


def test_compiled_a_step_is_one_graph_whose_attention_a_flash_kernel_takes(model):
    """No mask, and the softmax in the graph; the next micro-batch takes the same one."""
    attend_without_mask(model)
    graphs = []

    def look(graph, _):
        graphs.append([node for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(loss_of, backend=look)
    inputs, labels = batch()
    for part in (slice(0, 3), slice(3, 6)):
        plain, seen = (one(model, inputs[part], labels[part], None, "bfloat16") for one in (loss_of, compiled))
        assert torch.equal(plain[0], seen[0])
    attentions = [node.kwargs for node in graphs[0] if "scaled_dot_product_attention" in str(node.target)]
    assert len(graphs) == 1 and any("cross_entropy" in str(node.target) for node in graphs[0])
    assert len(attentions) == 2 and all(one["is_causal"] and one["attn_mask"] is None for one in attentions)
