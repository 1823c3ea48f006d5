"""Low-rank adaptation (Hu et al., 2021), through peft: train small additions to frozen weights.

An adapted layer computes W x + (alpha / rank) B A x; only A and B learn. B starts at zero, so that
an adapted network begins as the network it came from, and `merged` turns it back into a plain one.
"""

import copy

from torch import nn

from openimagen.config import LoRA
from openimagen.unet import UNet


def adapt(net: UNet, lora: LoRA) -> UNet:
    """Freeze the network and add adapters, in place, to its attention and residual blocks.

    Raises ValueError if peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError("LoRA needs peft: pip install 'openimagen[train]'") from error
    targets = [name for name, module in net.named_modules() if is_adaptable(name, module)]
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets)
    inject_adapter_in_model(config, net.requires_grad_(False))
    return net


def is_adaptable(name: str, module: nn.Module) -> bool:
    """Whether it is a convolution or linear map inside a residual block or attention."""
    inside = ".block." in name or ".attention." in name
    return inside and isinstance(module, nn.Conv2d | nn.Linear)


def merged(net: UNet) -> UNet:
    """A copy of the network with the adapters added into its weights, and gone."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = copy.deepcopy(net)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                setattr(parent, name, layer.base_layer)
    return plain
