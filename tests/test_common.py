"""scikit-learn's own battery, over detectors, networks, scores and thresholds."""

from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import MLP, ConvNet

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


class _Windows:
    """Reads rows of any width as windows, so that the path of images is checked.

    ``input_shape`` would fix the width, and the battery fits many widths.
    """

    def _validate(self, X, *, reset):
        X = super()._validate(X, reset=reset)
        if reset:
            self.input_shape_ = (1, X.shape[1])
        return X


class WindowGANomaly(_Windows, GANomalyDetector):
    """GANomaly on rows as windows."""


class WindowAutoencoder(_Windows, AutoencoderDetector):
    """The autoencoder on rows as windows."""


class WindowAnoGAN(_Windows, AnoGANDetector):
    """AnoGAN on rows as windows."""


# No check is expected to fail.
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
        WindowGANomaly(architecture=ConvNet(base_channels=2), max_steps=5),
        WindowGANomaly(
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
        WindowAutoencoder(architecture=ConvNet(base_channels=2), max_steps=5),
        AnoGANDetector(
            architecture=TINY, max_steps=5, search="encoder", encoder_steps=5
        ),
        AnoGANDetector(
            architecture=TINY,
            max_steps=5,
            loss="logistic",
            search="gradient",
            n_search_steps=3,
            score_type="published",
            contamination=0.1,
        ),
        AnoGANDetector(
            architecture=TINY,
            max_steps=5,
            search="nearest",
            n_candidates=20,
            n_search_steps=2,
            n_starts=2,
        ),
        WindowAnoGAN(
            architecture=ConvNet(base_channels=2, discriminator_normalization=None),
            max_steps=5,
            search="encoder",
            encoder_steps=5,
        ),
    ]
)
def test_battery(estimator, check):
    """Every common test of scikit-learn passes."""
    check(estimator)
