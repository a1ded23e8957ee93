"""scikit-learn's own battery, over detectors, networks, scores and thresholds."""

import math

from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, _fit
from skganomaly.architectures import MLP, ConvNet
from skganomaly.searches import EncoderSearch, GradientSearch, NearestSearch

TINY = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))


class RowConv(BaseEstimator):
    """Convolutions over plain rows of any width, as the battery's widths differ."""

    def __init__(self, base_channels=2):
        self.base_channels = base_channels

    def encoder(self, input_shape, latent_dim):
        """Read a row as a window of one channel, then convolve."""
        window = (1, *input_shape)
        layers = ConvNet(base_channels=self.base_channels).encoder(window, latent_dim)
        return nn.Sequential(nn.Unflatten(1, window), *layers)

    def decoder(self, latent_dim, input_shape):
        """Make a window and flatten it to a row."""
        window = (1, *input_shape)
        layers = ConvNet(base_channels=self.base_channels).decoder(latent_dim, window)
        return nn.Sequential(*layers, nn.Flatten())

    def discriminator(self, input_shape):
        """Read a row as a window, then judge it."""
        window = (1, *input_shape)
        network = ConvNet(base_channels=self.base_channels).discriminator(window)
        network.features = nn.Sequential(nn.Unflatten(1, window), *network.features)
        return network

    def initialize(self, network, generator):
        """Draw the weights as ConvNet does."""
        ConvNet(base_channels=self.base_channels).initialize(network, generator)


# The check compares two fits whose rows come in different orders, and so meet different
# random numbers; tests/test_sample_weight.py compares what they have in common.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "Training is stochastic.",
    "check_fit_score_takes_y": "It calls partial_fit after fit, which keeps no rows.",
}


# No other check is expected to fail.
@parametrize_with_checks(
    [
        GANomalyDetector(architecture=TINY, max_steps=5),
        GANomalyDetector(
            architecture=TINY,
            max_steps=5,
            score_type="latent",
            adversarial_loss="bce",
            scaler="standard",
            contamination=0.1,
        ),
        GANomalyDetector(architecture=RowConv(), max_steps=5, n_members=2),
        GANomalyDetector(architecture=ConvNet(base_channels=2), max_steps=5),
        GANomalyDetector(
            architecture=ConvNet(base_channels=2),
            max_steps=5,
            n_members=2,
            score_type="latent",
            contamination=0.1,
        ),
        AutoencoderDetector(
            architecture=TINY, max_steps=5, contamination=0.1, validation_fraction=0.3
        ),
        AutoencoderDetector(
            architecture=RowConv(), max_steps=5, score_type="joint", n_members=1
        ),
        AutoencoderDetector(architecture=ConvNet(base_channels=2), max_steps=5),
        AnoGANDetector(
            architecture=TINY, max_steps=5, search=EncoderSearch(encoder_steps=5)
        ),
        AnoGANDetector(
            architecture=TINY,
            max_steps=5,
            adversary="logistic",
            search=GradientSearch(n_steps=3),
            score_type="published",
            contamination=0.1,
        ),
        AnoGANDetector(
            architecture=TINY,
            max_steps=5,
            search=NearestSearch(n_candidates=20, n_steps=2, n_starts=2),
        ),
        AnoGANDetector(
            architecture=ConvNet(base_channels=2, discriminator_normalization=None),
            max_steps=5,
            search=EncoderSearch(encoder_steps=5),
        ),
    ],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_battery(estimator, check, monkeypatch):
    """Every common test of scikit-learn passes."""
    if isinstance(estimator.architecture, ConvNet):
        # Rows of any width are windows of one channel, so that the path of images is
        # checked. ``input_shape`` would fix the width, and the battery fits many.
        monkeypatch.setattr(
            _fit, "resolve_input_shape", lambda given, shape: (1, math.prod(shape[1:]))
        )
    check(estimator)
