"""The networks of the zoo: segmentation networks of other people's libraries, with random weights of fixed seeds.

Their trained weights are not needed: an engine that agrees on random weights agrees on trained ones.  The statistics of
batch normalisation are taken from a batch, so that the numbers of deep layers stay as large as those of a trained
network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

SEED = 1
BATCH = 2
"""Pictures in the batch that statistics are taken from: some networks normalise after pooling to one pixel."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network.

    Attributes:
        name: its name in tables and files.
        make: builds the module, in evaluation mode or not.
        size: height and width it is exported with.
        channels: of the picture.
        multiple: heights and widths must be multiples of this.
    """

    name: str
    make: Callable[[], Any]
    size: int = 256
    channels: int = 3
    multiple: int = 1


def _torchvision(name: str) -> Callable[[], Any]:
    def make() -> Any:
        torch, segmentation = import_module("torch"), import_module("torchvision.models.segmentation")

        class Logits(torch.nn.Module):  # type: ignore[misc, name-defined]
            """These networks answer with a dictionary; the logits are its entry ``out``."""

            def __init__(self, network: Any) -> None:
                super().__init__()
                self.network = network

            def forward(self, x: Any) -> Any:
                return self.network(x)["out"]

        return Logits(getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=21))

    return make


def _smp(name: str, encoder: str) -> Callable[[], Any]:
    def make() -> Any:
        smp = import_module("segmentation_models_pytorch")
        return getattr(smp, name)(encoder_name=encoder, encoder_weights=None, classes=21)

    return make


def _monai() -> Any:
    nets = import_module("monai.networks.nets")
    return nets.BasicUNet(spatial_dims=2, in_channels=3, out_channels=4, features=(16, 16, 32, 64, 128, 16))


NETWORKS = (
    Network("lraspp_mobilenet_v3_large", _torchvision("lraspp_mobilenet_v3_large")),
    Network("deeplabv3_mobilenet_v3_large", _torchvision("deeplabv3_mobilenet_v3_large")),
    Network("fcn_resnet50", _torchvision("fcn_resnet50")),
    Network("unet_resnet34", _smp("Unet", "resnet34"), multiple=32),
    Network("unet_mobilenet_v2", _smp("Unet", "mobilenet_v2"), multiple=32),
    Network("unet_efficientnet_b0", _smp("Unet", "efficientnet-b0"), multiple=32),
    Network("fpn_resnet34", _smp("FPN", "resnet34"), multiple=32),
    Network("deeplabv3plus_resnet34", _smp("DeepLabV3Plus", "resnet34"), multiple=16),
    Network("segformer_mit_b0", _smp("Segformer", "mit_b0"), multiple=32),
    Network("monai_basic_unet", _monai, multiple=16),
)


def prepared(network: Network) -> Any:
    """Return the module with seeded weights and statistics of a batch, in evaluation mode."""
    torch = import_module("torch")
    torch.manual_seed(SEED)
    module = network.make()
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    module.train()
    with torch.no_grad():
        module(torch.rand(BATCH, network.channels, network.size, network.size))
    return module.eval()
