"""Image towers that timm does not register: MobileNetV1 x 0.75 and a tiny normaliser-free ResNet.

Importing this module registers them, so that `timm.create_model` and `timm.list_models` know them.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.efficientnet import _gen_mobilenet_v1
from timm.models.nfnet import NfCfg, NormFreeNet

default_cfgs = generate_default_cfgs(
    {
        "mobilenetv1_075.untrained": {
            "input_size": (3, 224, 224),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "num_classes": 1000,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
        "nf_resnet_tiny.untrained": {
            "input_size": (3, 32, 32),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "pool_size": (4, 4),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "num_classes": 0,
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        },
    }
)


@register_model
def mobilenetv1_075(pretrained: bool = False, **kwargs: Any) -> Any:
    """MobileNetV1 with width multiplier 0.75 (Howard et al. 2017), as the TensorFlow weights need it.

    Those weights were trained with TensorFlow's asymmetric "same" padding and a batch-norm epsilon of 1e-3.
    """
    kwargs = {"pad_type": "same", "bn_eps": 1e-3, **kwargs}
    return _gen_mobilenet_v1("mobilenetv1_075", 0.75, pretrained=pretrained, **kwargs)


@register_model
def nf_resnet_tiny(pretrained: bool = False, **kwargs: Any) -> Any:
    """A normaliser-free pre-activation ResNet (Brock et al. 2021) for 32 x 32 images, small enough for a laptop."""
    structure = NfCfg(
        depths=(1, 1, 1, 1),
        channels=(32, 64, 96, 128),
        stem_type="3x3",
        stem_chs=32,
        bottle_ratio=0.5,
        num_features=128,
        act_layer="gelu",
    )
    return build_model_with_cfg(
        NormFreeNet,
        "nf_resnet_tiny",
        pretrained,
        model_cfg=structure,
        feature_cfg={"flatten_sequential": True},
        **kwargs,
    )
