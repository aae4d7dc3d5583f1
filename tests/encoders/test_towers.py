import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from pairstill.encoders import towers


def test_both_towers_are_registered():
    assert {"mobilenetv1_075", "nf_resnet_tiny"} <= set(timm.list_models())
    assert timm.is_model("mobilenetv1_075") and timm.is_model("nf_resnet_tiny")
    assert set(towers.default_cfgs) == {"mobilenetv1_075", "nf_resnet_tiny"}


def test_mobilenetv1_is_the_one_of_the_tensorflow_weights():
    tower = timm.create_model("mobilenetv1_075", num_classes=0)
    norms = [layer for layer in tower.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 27 and {layer.eps for layer in norms} == {1e-3}
    # with stride 2, TensorFlow pads at the right and the bottom alone, which a plain convolution cannot
    strided = [m for m in tower.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    assert len(strided) == 5 and all(isinstance(m, Conv2dSame) for m in strided)
    assert tower.num_features == 768
    # Howard et al. 2017, Table 6: 2.6 million parameters with the classifier of 1000 classes
    whole = timm.create_model("mobilenetv1_075")
    assert 2.55e6 < sum(p.numel() for p in whole.parameters()) < 2.65e6


def test_same_padding_of_the_stem_by_hand():
    tower = timm.create_model("mobilenetv1_075", num_classes=0).eval()
    nn.init.ones_(tower.conv_stem.weight)
    # 4 x 4 with stride 2, kernel 3: one row and one column of zeros after the image, none before
    found = tower.conv_stem(torch.ones(1, 3, 4, 4))[0, 0]
    assert found.tolist() == [[27.0, 18.0], [18.0, 12.0]]


def test_nf_resnet_tiny_has_no_batch_norm_and_is_small():
    tower = timm.create_model("nf_resnet_tiny", num_classes=0)
    assert not [layer for layer in tower.modules() if isinstance(layer, nn.modules.batchnorm._NormBase)]
    assert not list(tower.buffers())
    assert tower.num_features == 128
    assert sum(p.numel() for p in tower.parameters()) < 300_000
