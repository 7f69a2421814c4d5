"""The architectures of timm on which every optimizer is tried: one row each, shrunk where its family lets itself be.

Most of timm's model functions fix depths and widths themselves and refuse to be given them twice. `create` therefore
overrides what they pass to timm's builder, so that any constructor argument can be made smaller and the model remains
that function's own in everything else.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import timm
import torch
from timm.models import model_entrypoint
from torch import nn

NUM_CLASSES = 10
BATCH = 4
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model of timm at reduced size.

    Attributes:
        name: timm's.
        size: Height and width of the pictures, in pixels.
        arguments: What the model's constructor is given in place of the function's own values.
        config: The same for the fields of its `model_cfg`, in families that have one.
    """

    name: str
    size: int = 32
    arguments: Values = field(default_factory=dict)
    config: Values = field(default_factory=dict)

    def create(self) -> nn.Module:
        """Make the shrunk model, in training mode, with the weights of seed 0."""
        module = inspect.getmodule(model_entrypoint(self.name))
        original = vars(module)["build_model_with_cfg"]

        def build(cls: Any, variant: str, pretrained: bool, **given: Any) -> nn.Module:
            given |= {key: value for key, value in self.arguments.items() if key != "img_size"}
            if self.config:
                given["model_cfg"] = dataclasses.replace(given["model_cfg"], **self.config)
            made: nn.Module = original(cls, variant, pretrained, **given)
            return made

        # the picture's size is timm's own argument, from which it works out windows and position tables
        size = {key: value for key, value in self.arguments.items() if key == "img_size"}
        torch.manual_seed(0)
        with mock.patch.object(module, "build_model_with_cfg", build):
            model: nn.Module = timm.create_model(self.name, num_classes=NUM_CLASSES, **size)
        return model.train()

    def create_full(self) -> nn.Module:
        """Make the model at its real size with timm's own number of classes, on the meta device: no data, no memory."""
        with torch.device("meta"):
            model: nn.Module = timm.create_model(self.name)
        return model.train()


def _plain(*names: str, size: int = 32) -> list[Architecture]:
    return [Architecture(name, size) for name in names]


def _small(name: str, size: int = 32, **arguments: Any) -> Architecture:
    return Architecture(name, size, arguments)


def _config(name: str, size: int = 32, **config: Any) -> Architecture:
    return Architecture(name, size, {}, config)


def _tokens(name: str, size: int = 32, patch_size: int = 8, **arguments: Any) -> Architecture:
    """A plain transformer: two blocks of width 48 with three heads."""
    own = {"img_size": size, "patch_size": patch_size, "depth": 2, "embed_dim": 48, "num_heads": 3}
    return Architecture(name, size, own | arguments)


_ONES: dict[str, Any] = {"depths": (1, 1, 1, 1)}
_LAYERS: dict[str, Any] = {"layers": (1, 1, 1, 1)}
_WIDTHS = (16, 24, 32, 48)
_EVEN = (16, 32, 32, 64)

TEST_MODELS = [
    *_plain(
        *(
            name
            for name in timm.list_models("test_*")
            if name not in ("test_coatnet", "test_maxvit", "test_vit", "test_vit2", "test_vit3", "test_vit4")
            and name != "test_vit_relpos"
        )
    ),
    *(_small(name, 64, img_size=64) for name in ("test_coatnet", "test_maxvit", "test_vit3", "test_vit_relpos")),
    *(_small(name, 32, img_size=32) for name in ("test_vit", "test_vit2", "test_vit4")),
]

CONVOLUTIONAL = [
    # residual networks and their kin
    _small("resnet18", channels=_EVEN),
    _small("seresnet18", channels=_EVEN),
    _small("skresnet18", channels=_EVEN, **_LAYERS),
    _small("legacy_seresnet18", **_LAYERS),
    _small("resnetv2_18", channels=_EVEN),
    _small("resnetv2_50x1_bit", layers=(1, 1, 1, 1), channels=(128, 128, 128, 128), stem_chs=32),
    _small("resnest14d", channels=_EVEN, **_LAYERS),
    _small("res2net50_14w_8s", channels=(64, 64, 96, 96), **_LAYERS),
    _small("res2next50", channels=(64, 64, 96, 96), **_LAYERS),
    _small("tresnet_m", layers=(1, 1, 1, 1), width_factor=0.25),
    *_plain("regnetx_002", "regnety_002"),
    *_plain("mobileone_s0", size=64),
    *(_config(name, width_factor=0.25, num_features=64) for name in ("gernet_s", "repvgg_a0")),
    _small("densenet121", growth_rate=8, block_config=(1, 2, 2, 1)),
    _small("densenetblur121d", growth_rate=8, block_config=(1, 2, 2, 1)),
    _small("vgg11", model_cfg=(16, "M", 16, "M", 24, "M", 24, "M", 32, "M"), mlp_ratio=0.03),
    _small("vgg11_bn", model_cfg=(16, "M", 16, "M", 24, "M", 24, "M", 32, "M"), mlp_ratio=0.03),
    _config("nf_resnet26", depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)),
    _config("nf_regnet_b0", depths=(1, 1, 1, 1), channels=(24, 24, 32, 48)),
    _config("dm_nfnet_f0", depths=(1, 1, 1, 1), channels=(64, 64, 64, 64), group_size=32),
    _small("dpn48b", k_sec=(1, 1, 1, 1)),
    _small("dla46_c", levels=(1, 1, 1, 1, 1, 1)),
    *_plain("hrnet_w18_small", "cs3darknet_s", "cspnext_tiny", "ese_vovnet19b_slim_dw", "hgnetv2_b0"),
    *_plain("inception_v3", size=80),
    _small(
        "xception41p",
        block_cfg=(
            {"in_chs": 64, "out_chs": 48, "stride": 2},
            {"in_chs": 48, "out_chs": 48, "stride": 1},
            {"in_chs": 48, "out_chs": (48, 64, 64), "stride": 2},
            {"in_chs": 64, "out_chs": (64, 96, 96), "no_skip": True, "stride": 1},
        ),
    ),
    # mobile networks; at 32 pixels they end in one pixel, of which BatchNorm sees four
    *_plain("mobilenetv2_035", "mnasnet_small", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", size=64),
    *_plain("lcnet_035", "efficientnet_b0", "tf_efficientnetv2_b0", "tf_efficientnet_lite0", "mixnet_s", size=64),
    *_plain("tinynet_e", "hardcorenas_a", "fbnetc_100", "spnasnet_100", "lcnetv2_small", size=64),
    *_plain("repghostnet_050", "ghostnet_050", "ghostnetv2_100", "ghostnetv3_050", size=64),
    _small("rexnet_100", width_mult=0.5),
    _small("repvit_m1", embed_dim=_WIDTHS, depth=(1, 1, 1, 1)),
    _plain("starnet_s050")[0],
    _small("fasternet_t0", embed_dim=16, **_ONES),
    # convolutional networks in the manner of transformers
    _small("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    _small("convnextv2_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    _small("inception_next_atto", 64, depths=(1, 1, 1, 1), dims=(24, 24, 32, 48)),
    _small("mambaout_femto", depths=(1, 1, 1, 1), dims=_WIDTHS),
    _small("convmixer_768_32", dim=32, depth=2),
    _small("focalnet_tiny_srf", 64, embed_dim=16, **_ONES),
    _small("rdnet_tiny", growth_rates=(16,) * 7, num_blocks_list=(1,) * 7, num_init_features=16),
    _small("convformer_s18", depths=(1, 1, 1, 1), dims=_WIDTHS),
    _small("poolformer_s12", depths=(1, 1, 1, 1), dims=_WIDTHS),
    _small("poolformerv2_s12", depths=(1, 1, 1, 1), dims=_WIDTHS),
]

TRANSFORMERS = [
    _tokens("vit_tiny_patch16_224"),
    _tokens("deit_tiny_distilled_patch16_224"),
    _tokens("deit3_small_patch16_224"),
    _tokens("vit_relpos_small_patch16_224"),
    _tokens("vit_srelpos_small_patch16_224"),
    _small("vit_tiny_r_s16_p8_224", 64, img_size=64, depth=2, embed_dim=48, num_heads=3),
    _tokens("samvit_base_patch16_224", 64, 16),
    _tokens("naflexvit_base_patch16_gap", 32, 16),
    _tokens("beit_base_patch16_224"),
    _tokens("beitv2_base_patch16_224"),
    _tokens("eva02_tiny_patch14_224", 28, 7),
    _tokens("vit_tiny_patch16_dinov3_qkvb"),
    _tokens("vit_pe_core_tiny_patch16_384"),
    _tokens("cait_xxs24_224"),
    _tokens("convit_tiny", num_heads=4, local_up_to_layer=1),
    _tokens("xcit_nano_12_p16_224", 32, 16, num_heads=4),
    _small("tnt_s_patch16_224", img_size=32, embed_dim=48, depth=2, inner_dim=12, num_heads_outer=3),
    _small("crossvit_tiny_240", 120, img_size=120, embed_dim=(24, 48), depth=((1, 1, 0), (1, 1, 0))),
    _small("vitamin_small_224", 32, img_size=32, depth=1),
    _small("volo_d1_224", 64, img_size=64, layers=(1, 1, 1, 1), embed_dims=(24, 48, 48, 48), num_heads=(1, 2, 2, 2)),
    # windows and pyramids
    _small("swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=12, depths=(1, 2), num_heads=(2, 4)),
    _small("swinv2_tiny_window8_256", img_size=32, window_size=4, embed_dim=12, depths=(1, 2), num_heads=(2, 4)),
    _small("swinv2_cr_tiny_224", img_size=32, window_size=4, embed_dim=12, depths=(1, 2), num_heads=(2, 4)),
    _small("swin_s3_tiny_224", img_size=32, window_size=(4, 4), embed_dim=12, depths=(1, 2), num_heads=(2, 4)),
    _small("hiera_tiny_224", 64, img_size=64, embed_dim=24, stages=(1, 1, 1, 1)),
    _small("sam2_hiera_tiny", 64, embed_dim=24, stages=(1, 1, 2, 1)),
    _config("mvitv2_tiny", 64, embed_dim=(16, 32, 32, 32), **_ONES),
    _small("pvt_v2_b0", depths=(1, 1, 1, 1), embed_dims=_EVEN, num_heads=(1, 2, 2, 4)),
    _small("twins_svt_small", img_size=32, embed_dims=_EVEN, num_heads=(1, 2, 2, 2), **_ONES),
    _small("twins_pcpvt_small", img_size=32, embed_dims=_EVEN, num_heads=(1, 2, 2, 2), **_ONES),
    _small("gcvit_xxtiny", 64, img_size=64, embed_dim=16, window_size=(4, 4, 4, 2), num_heads=(1, 2, 2, 4), **_ONES),
    _small("davit_tiny", embed_dims=_EVEN, num_heads=(1, 2, 2, 4), window_size=4, **_ONES),
    _small("nest_tiny", 64, img_size=64, embed_dims=(24, 24, 48), num_heads=(1, 2, 2), depths=(1, 1, 1)),
    _small("pit_ti_224", 64, img_size=64, depth=(1, 1, 1), base_dims=(16, 16, 16)),
    _small(
        "tiny_vit_5m_224", 64, embed_dims=(32, 32, 64, 64), num_heads=(1, 2, 2, 4), window_sizes=(4, 4, 4, 2), **_ONES
    ),
    # with convolutions
    *(
        Architecture(name, 64, {"img_size": 64}, {"embed_dim": (32, 32, 32, 32), "stem_width": 8, **_ONES})
        for name in ("maxvit_pico_rw_256", "coatnet_0_rw_224", "coatnext_nano_rw_224")
    ),
    _small("caformer_s18", depths=(1, 1, 1, 1), dims=(32, 32, 32, 64)),
    _small("levit_128s", 64, img_size=64, embed_dim=(32, 48, 64), num_heads=(2, 2, 2), depth=(1, 1, 1)),
    _small("levit_conv_128s", 64, img_size=64, embed_dim=(32, 48, 64), num_heads=(2, 2, 2), depth=(1, 1, 1)),
    _small("efficientformer_l1", 224, embed_dims=_WIDTHS, **_ONES),
    _small("efficientformerv2_s0", 64, img_size=64, embed_dims=_WIDTHS, **_ONES),
    _small("edgenext_xx_small", dims=(24, 24, 32, 48), **_ONES),
    *_plain("mobilevit_xxs", "mobilevitv2_050", "efficientvit_b0", size=64),
    _small("fastvit_t8", 64, layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128)),
    _small("fastvit_sa12", 64, layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128)),
    _small("efficientvit_m0", 64, img_size=64, embed_dim=(32, 48, 64), depth=(1, 1, 1)),
    _small("swiftformer_xs", 64, layers=(1, 1, 1, 1), embed_dims=_WIDTHS),
    _small("shvit_s1", 64, depth=(1, 1, 1), embed_dim=(32, 48, 64), partial_dim=(8, 12, 16)),
    _small("iformer_t", 64, dims=(16, 32, 48, 64), depths=(1, 1, 3, 3), attn_groups=(0, 0, 1, 1)),
    _small("coat_lite_tiny", img_size=32, embed_dims=(32, 32, 32, 64), serial_depths=(1, 1, 1, 1)),
    _small("coat_tiny", 32, img_size=32, embed_dims=(32, 32, 32, 32), serial_depths=(1, 1, 1, 1), parallel_depth=1),
    _small("visformer_tiny", img_size=32, embed_dim=48, depth=(1, 1, 1), num_heads=2),
    *(
        Architecture(name, 64, {"img_size": 64}, {"width_factor": 0.25})
        for name in ("botnet26t_256", "lambda_resnet26t")
    ),
    *_plain("mobilenetv4_hybrid_medium", size=64),
    # without attention
    _small("mixer_s16_224", img_size=32, num_blocks=2, embed_dim=48, patch_size=8),
    _small("gmlp_ti16_224", img_size=32, num_blocks=2, embed_dim=48, patch_size=8),
    _small("resmlp_12_224", img_size=32, num_blocks=2, embed_dim=48, patch_size=8),
    _small("sequencer2d_s", img_size=32, embed_dims=(16, 24, 24, 24), hidden_sizes=(8, 8, 8, 8), **_LAYERS),
    _small("efficientvim_m1", 64, embed_dim=(32, 48, 64)),
]

ARCHITECTURES = [*TEST_MODELS, *CONVOLUTIONAL, *TRANSFORMERS]
