"""Medical networks of MONAI."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from monai.networks import nets

from .entry import Entry


def entries() -> Iterator[Entry]:
    """Yield the models."""

    def case(name: str, make: Any, cuts: str, *shape: int, **more: Any) -> Entry:
        example = partial(torch.randn, 2, 1, *(shape or (32, 32)))
        return Entry("monai", name, make, example, tuple(cuts.split()), **more)

    flat: dict[str, Any] = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3}
    unet = partial(nets.UNet, **flat, channels=(4, 8, 16), strides=(2, 2))
    yield case("UNet", unet, "model.1 model.1.submodule.1 model.2")
    solid = partial(
        nets.UNet, spatial_dims=3, in_channels=1, out_channels=3, channels=(4, 8), strides=(2,)
    )
    yield case("UNet, three axes", solid, "model.1 model.2", 8, 8, 8)
    basic = partial(nets.BasicUNet, **flat, features=(4, 4, 8, 8, 16, 4))
    yield case("BasicUNet", basic, "down_2 upcat_4 final_conv")
    attention = partial(nets.AttentionUnet, **flat, channels=(4, 8, 16), strides=(2, 2))
    yield case("AttentionUnet", attention, "model.1 model.2")
    segres = partial(
        nets.SegResNet, **flat, init_filters=8, blocks_down=(1, 1, 1), blocks_up=(1, 1)
    )
    yield case("SegResNet", segres, "down_layers.1 up_layers.0 conv_final")
    kernels = {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2)}
    dyn = partial(nets.DynUNet, **flat, **kernels, filters=(4, 8, 8))
    yield case("DynUNet, an nnU-Net", dyn, "downsamples.0 bottleneck output_block")
    dense = partial(nets.DenseNet, **flat, init_features=8, growth_rate=4, block_config=(2, 2))
    yield case("DenseNet", dense, "features.denseblock1 features.denseblock2 class_layers")
