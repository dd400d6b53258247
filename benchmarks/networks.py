"""Which public networks the coverage benchmark looks at; the architectures are those of pytorchcv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Export = Literal["script", "folded", "dynamo"]
EXPORTS: tuple[Export, ...] = ("script", "folded", "dynamo")


@dataclass(frozen=True)
class Network:
    """One architecture at one input size.

    Attributes:
        name: pytorchcv's name.
        kind: What it is for; results are summed up by kind.
        shape: Shape of one input sample, without the batch. Where the network allows it, small, to save time.
        resizable: Whether the constructor takes the image size.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    resizable: bool = False


def _networks(kind: str, size: int, names: str, *, resizable: bool = False) -> list[Network]:
    return [Network(name, kind, (3, size, size), resizable) for name in names.split()]


_FIRST = """
resnet18 mobilenetv2_wd2 densenet121 shufflenetv2_w1 efficientnet_b0 seresnet18 resnext50_32x4d mobilenet_wd2
squeezenet_v1_0 preresnet18 ghostnet regnety002 mobilenetv3_small_w1 shufflenet_g3_w1 hrnet_w18_small_v1 dla34
mixnet_s"""
_CLASSIFIERS = """
bninception resnet50 preresnet50 seresnet50 senet28 sepreresnet18 seresnext50_32x4d resnesta18 resnestabc14 sknet50
regnetx002 ibn_resnet50 ibnb_resnet50 ibn_densenet121 airnet50_1x64d_r16 airnext50_32x4d_r2 bam_resnet18 cbam_resnet18
resattnet56 diaresnet10 diapreresnet10 diracnet18v2 sharesnet18 condensenet74_c4_g4 sparsenet121 peleenet drnd22
darknet_tiny darknet53 channelnet revnet38 bagnet9 dla46xc fishnet99 espnetv2_wd2 dicenet_wd2 vovnet27s hardnet39ds
xdensenet121_2 squeezeresnet_v1_1 sqnxt23_w1 shufflenet_g1_w1 shufflenetv2b_w1 menet108_8x1_g3 fdmobilenet_wd2
mobilenetv2b_w1 mobilenetv3_large_w1 igcv3_wd2 mnasnet_a1 darts proxylessnas_cpu fbnet_cb nasnet_4a1056 spnasnet
efficientnet_b0c efficientnet_edge_small_b resneta10 isqrtcovresnet18 resnetd50b octresnet10_ad2"""
_CIFAR = """
resnext20_16x4d_cifar10 seresnet20_cifar10 sepreresnet20_cifar10 wrn16_10_cifar10 pyramidnet110_a48_cifar10
densenet40_k12_bc_cifar10 xdensenet40_2_k24_bc_cifar10 wrn20_10_1bit_cifar10 ror3_56_cifar10 msdnet22_cifar10
resdropresnet20_cifar10 shakeshakeresnet20_2x16d_cifar10 shakedropresnet20_cifar10 fractalnet_cifar10
diaresnet20_cifar10 diapreresnet20_cifar10"""
_SEGMENTATION = """
icnet_resnetd50b_cityscapes cgnet_cityscapes dabnet_cityscapes sinet_cityscapes fpenet_cityscapes ctxnet_cityscapes
esnet_cityscapes edanet_cityscapes enet_cityscapes erfnet_cityscapes segnet_cityscapes sqnet_cityscapes
bisenet_resnet18_celebamaskhq"""
_POOLED = """
fastscnn_cityscapes fcn8sd_resnetd50b_voc pspnet_resnetd50b_voc deeplabv3_resnetd50b_voc
danet_resnetd50b_cityscapes"""

NETWORKS = [
    *_networks("classifier", 96, _FIRST),
    *_networks("cifar", 32, "resnet20_cifar10 densenet40_k12_cifar10 nin_cifar10 preresnet20_cifar10 rir_cifar10"),
    *_networks("segmentation", 128, "unet_cityscapes lednet_cityscapes", resizable=True),
    *_networks("pose", 128, "simplepose_resnet18_coco lwopenpose2d_mobilenet_cmupan_coco"),
    *_networks("classifier", 96, _CLASSIFIERS),
    *_networks("classifier", 224, "dpn68 alexnet vgg11 bn_vgg11 zfnet scnet50 msdnet22 selecsls42"),
    *_networks("classifier", 299, "xception inceptionv3 inceptionv4 inceptionresnetv1 inceptionresnetv2"),
    *_networks("cifar", 32, _CIFAR),
    *_networks("segmentation", 192, _POOLED, resizable=True),
    *_networks("segmentation", 128, _SEGMENTATION, resizable=True),
    Network("alphapose_fastseresnet101b_coco", "pose", (3, 256, 192)),
    *_networks("pose", 256, "simplepose_mobile_mobilenetv2b_w1_coco"),
    *_networks("pose", 128, "ibppose_coco", resizable=True),
    *_networks("other", 256, "prnet lffd20x5s320v2_widerface", resizable=True),
    *_networks("other", 256, "centernet_resnet18_voc", resizable=True),
    Network("pfpcnet", "other", (1, 320, 240)),
]
QUICK = (
    *("resnet18", "mobilenetv2_wd2", "densenet121", "shufflenetv2_w1", "efficientnet_b0", "squeezenet_v1_0"),
    *("resnet20_cifar10", "nin_cifar10", "fastscnn_cityscapes", "simplepose_mobile_mobilenetv2b_w1_coco"),
)


def export_path(folder: Path, name: str, how: Export) -> Path:
    """Where an exported network is kept."""
    return folder / f"{name}.{how}.onnx"
