"""
Layers that `kernelize` puts in the place of a model's. Each has no state and no constructor, the signature of the forward
that it replaces, and reads the weights of its host through `self`.
"""

import inspect
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

from transformers.models.granitemoehybrid import modeling_granitemoehybrid


calls = Counter()


def rms_norm(hidden_states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    normed = hidden_states.float()
    normed = normed * torch.rsqrt(normed.pow(2).mean(-1, keepdim=True) + eps)
    return (weight * normed).to(hidden_states.dtype)


def routed(host: nn.Module, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = hidden_states.flatten(0, 1)
    _, scores, experts = host.router(tokens)
    return host.experts(tokens, experts, scores).view_as(hidden_states), scores


class RMSNorm(nn.Module):
    def forward(self, hidden_states):
        calls["RMSNorm"] += 1
        return rms_norm(hidden_states, self.weight, self.variance_epsilon)


class AddRMSNorm(nn.Module):
    def forward(self, hidden_states, residual):
        calls["AddRMSNorm"] += 1
        residual = residual + hidden_states
        return rms_norm(residual, self.weight, self.variance_epsilon), residual


class Rotary(nn.Module):
    def forward(self, q, k, cos, sin, unsqueeze_dim=1):
        calls["rotary_pos_emb"] += 1
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return tuple(x * cos + torch.cat([-x.chunk(2, -1)[1], x.chunk(2, -1)[0]], -1) * sin for x in (q, k))


class HalfRotary(nn.Module):
    """Of gpt-oss, whose cosines and sines are those of one half."""

    def forward(self, q, k, cos, sin, unsqueeze_dim=1):
        calls["rotary_pos_emb"] += 1
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        halves = [x.chunk(2, -1) for x in (q, k)]
        return tuple(torch.cat([a * cos - b * sin, b * cos + a * sin], -1) for a, b in halves)


class GatedNormMLP(nn.Module):
    def forward(self, x):
        calls["NormMLP"] += 1
        x = rms_norm(x, self.norm.weight, self.norm.variance_epsilon)
        return self.down_proj(self.act_fn(F.linear(x, self.gate_proj.weight)) * F.linear(x, self.up_proj.weight))


class PackedNormMLP(nn.Module):
    """Of Granite, whose gate and up projection are one."""

    def forward(self, hidden_states):
        calls["NormMLP"] += 1
        x = rms_norm(hidden_states, self.norm.weight, self.norm.variance_epsilon)
        gate, up = F.linear(x, self.input_linear.weight).chunk(2, -1)
        return F.linear(self.activation(gate) * up, self.output_linear.weight)


class RoutedNormMLP(nn.Module):
    def forward(self, hidden_states):
        calls["NormMLP"] += 1
        return routed(self, rms_norm(hidden_states, self.norm.weight, self.norm.variance_epsilon))


class RoutedMLP(nn.Module):
    def forward(self, hidden_states):
        calls["MegaBlocksMoeMLP"] += 1
        return routed(self, hidden_states)


@torch.compile
def gated_norm_mlp(x, norm, eps, gate, up, down):
    x = rms_norm(x, norm, eps)
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


@torch.compile
def add_rms_norm(hidden_states, residual, weight, eps):
    residual = residual + hidden_states
    return rms_norm(residual, weight, eps), residual


class CompiledNormMLP(nn.Module):
    """With SiLU."""

    def forward(self, x):
        weights = self.gate_proj.weight, self.up_proj.weight, self.down_proj.weight
        return gated_norm_mlp(x, self.norm.weight, self.norm.variance_epsilon, *weights)


class CompiledAddRMSNorm(nn.Module):
    def forward(self, hidden_states, residual):
        return add_rms_norm(hidden_states, residual, self.weight, self.variance_epsilon)


class OfOneArgument(nn.Module):
    """Fits no AddRMSNorm."""

    def forward(self, hidden_states):
        return hidden_states


def parents(function_name: str, kernel_name: str) -> type[nn.Module]:
    """What transformers itself computes for a mamba layer."""
    function = getattr(modeling_granitemoehybrid, function_name)

    class Function(nn.Module):
        def forward(self, *args, **kwargs):
            calls[kernel_name] += 1
            return type(function).forward(function, *args, **kwargs)

    Function.forward.__signature__ = inspect.signature(type(function).forward)
    return Function


CausalConvUpdate = parents("causal_conv1d_update", "causal_conv1d_update")
CausalConv = parents("causal_conv1d_fn", "causal_conv1d_fn")
SplitConvScan = parents("mamba2_split_conv1d_scan_combined", "mamba_split_conv1d_scan_combined")
StateUpdate = parents("mamba2_selective_state_update", "selective_state_update")
ChunkScan = parents("mamba2_chunk_scan", "mamba_chunk_scan_combined")
