"""ModernBERT's body: rotary positions, GeGLU, blocks that see near positions and some that see all."""

import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.models.bert import check_length
from toolkit.models.blocks import Block
from toolkit.models.masks import key_mask, local_mask, mean_of_real
from toolkit.models.norms import build_norm
from toolkit.models.positions import RotaryPositions
from toolkit.models.trunk import Embedding, Trunk
from toolkit.spec.modernbert import ModernBERTArchitecture


class ModernBERTTrunk(Trunk):
    """An encoder of text (Warner 2024)."""

    causal = False
    arch: ModernBERTArchitecture

    def __init__(self, arch: ModernBERTArchitecture) -> None:
        super().__init__(arch)
        self.embed = Embedding(arch.vocab_size, arch.d_model)
        self.embed_norm = build_norm(arch)
        self.global_rotary = RotaryPositions(arch.head_dim, arch.max_sequence_length, arch.global_rope_theta)
        self.local_rotary = RotaryPositions(arch.head_dim, arch.max_sequence_length, arch.local_rope_theta)
        self.blocks = nn.ModuleList(Block(arch, layer, causal=False) for layer in range(arch.n_layers))
        for layer, block in enumerate(self.blocks):
            if isinstance(block, Block) and arch.is_local(layer):
                block.attention.reach = arch.window // 2
        self.blocks[0].attention_norm = nn.Identity()  # the embedding's norm stands right before it
        self.norm = build_norm(arch)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Raises ValueError past `arch.max_sequence_length`."""
        y: Tensor = self.norm(self.layers(inputs, lengths)[-1])
        return y

    def layers(self, inputs: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        length = inputs.shape[1]
        check_length(inputs, self.arch.max_sequence_length)
        x: Tensor = self.embed_norm(self.embed(inputs).to(self.compute_dtype))
        if self.arch.dropout:
            x = F.dropout(x, self.arch.dropout, self.training)
        everywhere = key_mask(lengths, length)
        local = local_mask(lengths, length, self.arch.window // 2, inputs.device)
        global_rotation = self.global_rotary(0, length, x.dtype)
        local_rotation = self.local_rotary(0, length, x.dtype)
        states = [x]
        for layer, block in enumerate(self.blocks):
            if self.arch.is_local(layer):
                x = block(x, local_rotation, None, local)
            else:
                x = block(x, global_rotation, None, everywhere)
            states.append(x)
        return states

    def pooled(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        return hidden[:, 0] if self.arch.pooling == "class" else mean_of_real(hidden, lengths)
