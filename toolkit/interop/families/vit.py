"""ViT, and the encoder of a masked autoencoder, which is one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.interop.families.family import (
    Beside,
    Config,
    Family,
    Head,
    Refusals,
    State,
    read_encoder,
    renamed,
    turned,
    with_kinds,
    write_encoder,
)
from toolkit.spec.model import ViTArchitecture

if TYPE_CHECKING:
    from torch import Tensor

PROCESSOR = "preprocessor_config.json"
_BYTE = 1 / 255
_FAR = 1000.0
"""Beyond it, or its inverse, is no mean or deviation of numbers from 0 to 1."""


def _write(arch: ViTArchitecture) -> Config:
    square = arch.height == arch.width
    return write_encoder(arch) | {
        "image_size": arch.height if square else [arch.height, arch.width],
        "patch_size": arch.patch_size,
        "num_channels": arch.channels,
        "hidden_act": "gelu",
        "layer_norm_eps": arch.norm_eps,
        "hidden_dropout_prob": arch.dropout,
        "attention_probs_dropout_prob": arch.dropout,
        "qkv_bias": True,
    }


def _read(config: Mapping[str, Any], beside: Beside) -> tuple[ViTArchitecture, Refusals]:
    size, patch = config["image_size"], config["patch_size"]
    height, width = (size, size) if isinstance(size, int) else size
    patch_height, patch_width = (patch, patch) if isinstance(patch, int) else patch
    channels = config.get("num_channels", 3)
    mean, std, unread = _pixels(beside(PROCESSOR) or {}, (height, width), channels)
    activation = config.get("hidden_act", "gelu")
    arch = ViTArchitecture(
        **read_encoder(config),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        activation="gelu_erf",
        bias=True,
        pooling="class",
        channels=channels,
        height=height,
        width=width,
        patch_size=patch_height,
        class_token=True,
        positions="learned",
        n_registers=0,
        pixel_mean=mean,
        pixel_std=std,
    )
    return arch, {
        f"hidden_act {activation!r}": activation != "gelu",
        "qkv_bias = false": not config.get("qkv_bias", True),
        "a patch that is not square": patch_height != patch_width,
        f"a patch of {patch_height} in an image of {height} by {width}": bool(
            height % patch_height or width % patch_height
        ),
        f"num_channels {channels!r}": channels not in (1, 3),
        **unread,
    }


def _pixels(
    processor: Mapping[str, Any], size: tuple[int, int], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...], Refusals]:
    """Mean and standard deviation of the pixels, from 0 to 1, and what else the image processor does."""
    plain = processor.get("do_normalize", True)
    mean, std = (
        _numbers(processor.get(f"image_{name}", 0.5) if plain else neither)
        for name, neither in (("mean", 0.0), ("std", 1.0))
    )
    crops = processor.get("do_center_crop", False)
    made = processor.get("crop_size" if crops else "size", {"height": size[0], "width": size[1]})
    if isinstance(made, int):
        made = {"height": made, "width": made}
    refusals = {
        f"{PROCESSOR}: do_rescale = false": not processor.get("do_rescale", True),
        f"{PROCESSOR}: rescale_factor": abs(processor.get("rescale_factor", _BYTE) - _BYTE) > 1e-6,
        f"{PROCESSOR}: a size of {made} for a model of {size}": processor.get("do_resize", True)
        and (made.get("height"), made.get("width")) != size,
        f"{PROCESSOR}: {len(mean)} means and {len(std)} deviations": not {len(mean), len(std)}
        <= {1, channels},
        f"{PROCESSOR}: image_mean {list(mean)}": max(map(abs, mean)) > _FAR,
        f"{PROCESSOR}: image_std {list(std)}": not 1 / _FAR < min(std) <= max(std) < _FAR,
    }
    return mean, std, refusals


def _numbers(value: Any) -> tuple[float, ...]:
    """One number a channel, or one where all are the same."""
    found = tuple(float(number) for number in (value if isinstance(value, list) else [value]))
    return found[:1] if len(set(found)) == 1 else found


def _files(arch: ViTArchitecture) -> dict[str, Config]:
    spread = {
        name: list(values) * (arch.channels if len(values) == 1 else 1)
        for name, values in (("image_mean", arch.pixel_mean), ("image_std", arch.pixel_std))
    }
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": arch.height, "width": arch.width},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": _BYTE,
        "do_normalize": True,
        **spread,
    }
    return {PROCESSOR: processor}


def _names(arch: ViTArchitecture, prefix: str, version: int) -> dict[str, str]:
    """Names as transformers 5 has them, or as earlier versions and the files on the hub have."""
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    block, up, down = "layers", "mlp.fc1", "mlp.fc2"
    if version == 4:
        attention = ("attention.query", "attention.key", "attention.value", "output.dense")
        block, up, down = "encoder.layer", "intermediate.dense", "output.dense"
    parts = {"trunk.norm": f"{prefix}layernorm"}
    for i in range(arch.n_layers):
        ours, theirs = f"trunk.blocks.{i}", f"{prefix}{block}.{i}"
        for mine, their in zip(("q", "k", "v", "out"), attention, strict=True):
            parts[f"{ours}.attention.{mine}"] = f"{theirs}.attention.{their}"
        parts |= {
            f"{ours}.attention_norm": f"{theirs}.layernorm_before",
            f"{ours}.feed_forward_norm": f"{theirs}.layernorm_after",
            f"{ours}.feed_forward.up": f"{theirs}.{up}",
            f"{ours}.feed_forward.down": f"{theirs}.{down}",
        }
    return with_kinds(parts)


def _to(arch: ViTArchitecture, state: State) -> "dict[str, Tensor]":
    weights = renamed(_names(arch, "vit.", 4), state)
    shape = (arch.d_model, arch.channels, arch.patch_size, arch.patch_size)
    positions = state.get("trunk.positions.weight")
    if positions is None:  # sines and cosines; the class token has none
        import torch

        from toolkit.models.vit import sincos_positions

        table = sincos_positions(arch.grid, arch.d_model)
        positions = torch.cat((torch.zeros(1, arch.d_model), table))
    return weights | {
        "vit.embeddings.cls_token": state["trunk.class_token.weight"][None],
        "vit.embeddings.position_embeddings": positions[None],
        "vit.embeddings.patch_embeddings.projection.weight": state["trunk.patch.weight"].reshape(shape),
        "vit.embeddings.patch_embeddings.projection.bias": state["trunk.patch.bias"],
    }


def _back(arch: ViTArchitecture, weights: State) -> "dict[str, Tensor]":
    prefix = "vit." if any(name.startswith("vit.") for name in weights) else ""
    version = 4 if any(name.startswith(f"{prefix}encoder.layer.") for name in weights) else 5
    names = _names(arch, prefix, version)
    embeddings = f"{prefix}embeddings"
    return renamed(turned(names), weights) | {
        "trunk.class_token.weight": weights[f"{embeddings}.cls_token"][0],
        "trunk.positions.weight": weights[f"{embeddings}.position_embeddings"][0],
        "trunk.patch.weight": weights[f"{embeddings}.patch_embeddings.projection.weight"].flatten(1),
        "trunk.patch.bias": weights[f"{embeddings}.patch_embeddings.projection.bias"],
    }


VIT = Family(
    ("vit", "vit_mae"),
    "ViTModel",
    None,
    ("ViTForMaskedImageModeling", "ViTMAEModel", "ViTMAEForPreTraining"),
    _write,
    _read,
    _to,
    _back,
    heads={"pooled": Head("ViTForImageClassification", pools={"class": {}})},
    files=_files,
)
