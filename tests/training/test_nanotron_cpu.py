"""The stand-ins for nanotron's CUDA-only functions, against torch and transformers; needs no nanotron."""

import sys

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from training import nanotron_cpu
from training.nanotron_cpu import RotaryEmbedding, flash_attn_varlen_kvpacked_func, install, layer_norm_fn


def attention_by_mask(q, kv, lengths):
    """One matrix of scores over all tokens, with all masked that is of another sequence or comes later."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    mask = (owner[:, None] == owner[None]) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()
    repeats = q.shape[1] // kv.shape[2]
    k, v = (x.repeat_interleave(repeats, 1) for x in kv.unbind(1))
    scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)


@pytest.mark.parametrize("lengths", [[6, 6, 6], [18], [1, 10, 7]])
@pytest.mark.parametrize("shared", [1, 2])
def test_attention_stays_within_each_sequence(lengths, shared):
    torch.manual_seed(0)
    q, kv = torch.randn(18, 4, 8), torch.randn(18, 2, 4 // shared, 8)
    ends = torch.cumsum(torch.tensor([0, *lengths]), 0, dtype=torch.int32)
    found = flash_attn_varlen_kvpacked_func(q, kv, ends, ends, 18, 18, 0.0, causal=True)
    torch.testing.assert_close(found, attention_by_mask(q, kv, lengths))


def test_what_attention_does_not_do_is_refused():
    q, kv, ends = torch.randn(4, 2, 8), torch.randn(4, 2, 2, 8), torch.tensor([0, 4])
    for asked in ({"causal": False}, {"causal": True, "dropout": 0.1}, {"causal": True, "return_attn_probs": True}):
        with pytest.raises(NotImplementedError):
            flash_attn_varlen_kvpacked_func(q, kv, ends, ends, 4, 4, **asked)


class Rotary(RotaryEmbedding):
    """With the table of cosines that nanotron's subclass makes."""

    def _update_cos_sin_cache(self, seqlen, device=None, dtype=None):
        angles = torch.outer(torch.arange(seqlen).float(), self.inv_freq)
        self._cos_cached, self._sin_cached = angles.cos(), angles.sin()


def test_rotary_encoding_is_that_of_transformers():
    torch.manual_seed(0)
    q, kv = torch.randn(2, 9, 4, 16), torch.randn(2, 9, 2, 2, 16)
    turned_q, turned_kv = Rotary(16, base=5000.0)(q, kv)
    rope = {"rope_type": "default", "rope_theta": 5000.0}
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters=rope)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(9).expand(2, -1))
    expected_q, expected_k = apply_rotary_pos_emb(q, kv[:, :, 0], cos, sin, unsqueeze_dim=2)
    torch.testing.assert_close(turned_q, expected_q)
    torch.testing.assert_close(turned_kv, torch.stack((expected_k, kv[:, :, 1]), 2))


def test_norm_is_that_of_transformers():
    norm, x = LlamaRMSNorm(16, eps=1e-5), torch.randn(5, 16)
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(layer_norm_fn(x, norm.weight, None, eps=1e-5, is_rms_norm=True), norm(x))


def test_nothing_is_done_where_there_is_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    finders, modules, reset = list(sys.meta_path), set(sys.modules), torch.cuda.reset_peak_memory_stats
    assert install() is False
    assert sys.meta_path == finders and set(sys.modules) == modules
    assert torch.cuda.reset_peak_memory_stats is reset


def test_the_device_is_rewritten_but_for_timers(tmp_path):
    (tmp_path / "one.py").write_text("DEVICE, OTHER = 'cuda', 'cudagraph'\n")
    for name, expected in (("nanotron.one", "cpu"), ("nanotron.timers", "cuda")):
        scope: dict = {}
        exec(nanotron_cpu._Loader(name, str(tmp_path / "one.py")).get_code(name), scope)
        assert (scope["DEVICE"], scope["OTHER"]) == (expected, "cudagraph")
    assert not list(tmp_path.rglob("*.pyc"))
