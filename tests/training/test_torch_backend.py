"""The arithmetic of a step: which labels count, and that the cut into micro-batches does not."""

import pytest
import torch

from training.config import ModelRecipe
from training.torch_backend import NO_LABEL, accumulate, inputs_and_labels, new_model


@pytest.fixture
def model():
    torch.manual_seed(0)
    shape = ModelRecipe(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    return new_model(shape, vocab_size=50, eos_id=0)


def test_the_first_token_of_a_document_is_no_label():
    tokens = torch.tensor([[1, 2, 0, 5, 6, 0, 7]])
    segment = torch.tensor([[0, 0, 0, 1, 1, 1, 2]])
    inputs, labels = inputs_and_labels(tokens, segment)
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
    whole = accumulate(model, inputs, labels, None)
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    assert accumulate(model, inputs, labels, micro_batch) == pytest.approx(whole, rel=1e-6)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-7)


def test_the_loss_is_the_mean_over_labels(model):
    inputs, labels = batch()
    logprobs = torch.log_softmax(model(inputs).logits, -1)
    nats = [-logprobs[b, s, labels[b, s]].item() for b in range(6) for s in range(12) if labels[b, s] != NO_LABEL]
    assert accumulate(model, inputs, labels, 2) == pytest.approx(sum(nats) / len(nats), rel=1e-5)


def test_bfloat16_is_close(model):
    inputs, labels = batch()
    exact = accumulate(model, inputs, labels, None)
    model.zero_grad()
    assert accumulate(model, inputs, labels, None, "bfloat16") == pytest.approx(exact, rel=0.02)
