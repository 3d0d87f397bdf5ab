# Copyright 2026 The transformers-heterogeneous authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What models whose layers fuse blocks share. No `__all__`: families copy what they import."""

from transformers.core_model_loading import WeightRenaming, WeightTransform

from .modular_heterogeneous import FusedBlocksConfig
from .modular_pretrained_model import HeterogeneousPreTrainedModel, LoadOnlyRenaming


class FusionRenaming(WeightRenaming):
    """Moves the norm into a fused block. It is saved under its own name, also when the file had it in the block."""

    __slots__ = ()

    def was_used(self) -> bool:
        return True


class FusedBlocksPreTrainedModel(HeterogeneousPreTrainedModel):
    # Where norm and MLP are fused: the norm, and the MLP into which it moves
    fused_norm = "post_attention_layernorm"
    fused_mlp = "mlp"

    def renamings(self, config: FusedBlocksConfig) -> list[WeightTransform]:
        """
        The norms of layers in which norm and MLP are fused move into the MLP, so that what is on disk is the same for
        every choice of `fused_blocks`. Where it is the fused layout, saved with `save_original_format=False`, the norms
        of all other layers are named back as they are loaded.
        """
        self.renamed_layers = config.layers_with_fused_norm()
        fused, others = ("|".join(map(str, layers)) for layers in self.renamed_layers)
        norm, moved_norm = f"{self.fused_norm}.weight", f"{self.fused_mlp}.norm.weight"
        renamings = super().renamings(config)
        if fused:
            renamings.append(FusionRenaming(rf"layers.({fused}).{norm}", rf"layers.\1.{moved_norm}"))
        if others:
            renamings.append(LoadOnlyRenaming(rf"layers.({others}).{moved_norm}", rf"layers.\1.{norm}"))
        return renamings

    def save_pretrained(self, *args, **kwargs):
        self.base_model.follow_changes()
        if self.renamed_layers != self.config.layers_with_fused_norm():  # what is named back is named by layer
            self._weight_conversions = self.renamings(self.config)
        super().save_pretrained(*args, **kwargs)
