"""What a fitted detector can do: score rows, judge them, and look inside."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.utils import check_scalar
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._calibration import score_rows
from ._cut import is_auto
from ._fit import progress_of
from ._memory import out_of_memory
from ._process import own_settings
from ._seed import draw_seed
from ._validation import validate_rows
from ._value_range import units_differ
from .thresholds import p_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._cut import Threshold

    _Floats = NDArray[np.float64]

__all__ = ["InferenceMixin"]


def _if_method_can(name: str) -> Callable[[Any], bool]:
    """Whether a detector's method has what a method of the detector needs."""
    return lambda detector: detector._method.can(name)


def _less_memory() -> str:
    return (
        "Rows are taken in chunks of a fixed size: pass fewer at once if it was "
        "theirs, or free some of what the device has. The detector is as it was."
    )


class InferenceMixin:
    """Methods of a fitted detector, from arrays to arrays."""

    def _validate(self, X):
        """Check ``X`` and return it as one row of float64 or float32 per sample."""
        X, _ = validate_rows(self, X, reset=False, input_shape=self.input_shape_)
        return X

    def _progress(self, chunks, n_rows):
        return progress_of(self, self.model_.method)(chunks, n_rows)

    @own_settings()
    def anomaly_score(self, X: ArrayLike, *, part: str | None = None) -> _Floats:
        """Anomaly scores, higher for more anomalous.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to score.
        part : str or None, default=None
            One of the parts the score is made of, to look at it alone: its mean
            square, in units of its median over the reference rows. None is the
            detector's own score.

        Returns
        -------
        ndarray of shape (n_samples,)
            The score of a row depends on that row alone, not on the others or their
            order. Rows above ``threshold_`` are anomalies.

        Warns
        -----
        UserWarning
            If nearly all rows lie far outside of ``value_range_``, as in other units
            than the training rows. Scores are not changed by that.
        """
        check_is_fitted(self)
        names = self._method.part_names
        if part is not None and part not in names:
            raise ValueError(
                f"part={part!r} is not a part of this score. Use one of "
                f"{list(names)}, or None for the score itself."
            )
        X = self._validate(X)
        names = getattr(self, "feature_names_in_", None)
        problem = units_differ(X, self.value_range_, names)
        if problem is not None:
            warnings.warn(problem, UserWarning, stacklevel=3)
        with out_of_memory(_less_memory):
            return score_rows(self.model_, X, part, self._progress)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean of :meth:`score_samples`, as density estimators of scikit-learn have it.

        It says whether rows are as usual as others are to the same detector, and is
        poor advice on which of two detectors is better: see :ref:`model-selection`
        for scorers with labels and a criterion without.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to score.
        y : None
            Ignored; present for API consistency.

        Returns
        -------
        score : float
            Higher for more usual rows. Not comparable between values of
            ``score_type``.
        """
        return float(self.score_samples(X).mean())

    @own_settings()
    def p_values(self, X: ArrayLike) -> _Floats:
        """Conformal p-values: how usual a row's score is among normal rows.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to judge.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``(1 + number of reference scores at least as high) / (1 + number of
            reference scores)``. For new normal rows they are uniform, exactly so if
            the reference scores are of held-out rows (``validation_fraction``).
        """
        scores = self.anomaly_score(X)
        return p_values(self.reference_scores_, scores)

    @own_settings()
    def set_threshold(
        self, threshold: Threshold = "auto", *, false_alarm_rate: float | None = None
    ) -> Self:
        """Set another threshold without training again.

        Parameters
        ----------
        threshold : str, float, callable or object, default="auto"
            As the parameter of the same name. "auto" without a rate is what it was in
            the fit: the cut of ``contamination``, if that was a number.
        false_alarm_rate : float or None, default=None
            Share of unseen normal rows that may be flagged; None is the parameter's
            value in the fit.

        Returns
        -------
        self : object
            With new ``threshold_rule_`` and ``offset_``, found from
            ``reference_scores_``. The constructor's parameters stay as they are, so
            fitting again restores their threshold.

        Warns
        -----
        UserWarning
            If there are too few reference scores for ``false_alarm_rate``.
        """
        check_is_fitted(self)
        if not self.n_held_out_:
            self._check_held_out(threshold)
        return self._set_cut(threshold, false_alarm_rate, stacklevel=4)

    @available_if(_if_method_can("encode"))
    @own_settings()
    def encode(self, X: ArrayLike) -> _Floats:
        """Latent codes of rows.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw

        Returns
        -------
        ndarray of shape (n_samples, n_members * latent_dim)
            The codes of all members side by side; each has a latent space of its own.
        """
        codes = self._map(X, lambda model, x: model.encode(x))
        return codes.transpose(1, 0, 2).reshape(codes.shape[1], -1).astype(np.float64)

    @available_if(_if_method_can("reconstruct"))
    @own_settings()
    def reconstruct(self, X: ArrayLike) -> _Floats:
        """What the generators make of each row, in the units of ``X``.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw

        Returns
        -------
        ndarray of the shape of ``X``
            Reconstructions, averaged over members. Trained on normal rows, the
            networks tend to make normal rows of others, most visibly with a narrow
            ``latent_dim``.
        """
        scaled = self._map(X, lambda model, x: model.reconstruct(x)).mean(axis=0)
        return self.model_.scaling.inverse_transform(scaled).reshape(np.shape(X))

    @available_if(_if_method_can("decode"))
    @own_settings()
    def sample(
        self,
        n_samples: int = 1,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> _Floats:
        """Draw new rows like those of the training set.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed of the draw. None draws other rows each time.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, channels, ...)
            Generated rows, in the units of the training rows; each by one of the
            members at random. AnoGAN draws their codes from the prior that it was
            trained with; the other detectors, from a Gaussian with the mean and
            covariance of the codes of training rows, which is only as good as codes
            are Gaussian.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        generator = torch.Generator().manual_seed(draw_seed(random_state))
        rows = self.model_.sample(n_samples, generator).numpy()
        return self.model_.scaling.inverse_transform(rows).reshape(
            n_samples, *self.input_shape_
        )

    @available_if(_if_method_can("reconstruct"))
    @own_settings()
    def anomaly_map(
        self,
        X: ArrayLike,
        *,
        error: Literal["absolute", "squared"] = "absolute",
        smoothing: float | Literal["auto"] = "auto",
    ) -> _Floats:
        """How far each entry of a row is from its normal counterpart.

        Where :meth:`explain` says what an entry does to the score, this says where a
        row looks wrong, whatever the score. The counterpart is the one that
        :meth:`explain` starts from.

        **No verdict follows from it.** The score "local" of images and windows compares
        codes, to which a defect of a few pixels means little: the map may have one
        bright spot in a row that :meth:`predict` calls normal, and none in an anomaly.
        Nor does a map have a cut: compare it with maps of normal rows, as
        :class:`~skganomaly.plotting.ReconstructionDisplay` does with ``normal``. Where
        map and verdict have to agree, use :class:`~skganomaly.images.ImageDetector`.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to look at.
        error : {"absolute", "squared"}, default="absolute"
            Size of a difference.
        smoothing : float or "auto", default="auto"
            Standard deviation, in pixels or time steps, of a Gaussian that the map is
            smoothed with; 0 for none. "auto" is a 28th of the shortest axis longer
            than one, at least 0.5, for images, and 0 for windows and plain rows.

        Returns
        -------
        ndarray of the shape of ``X``
            Differences, in the units that ``model_.scaling`` scales to, so that
            features can be compared with each other.
        """
        check_is_fitted(self)
        if error not in ("absolute", "squared"):
            raise ValueError(f"error must be 'absolute' or 'squared', got {error!r}.")
        sigma = self._smoothing_width(smoothing)
        change = self._map_rows(X, self.model_.anomaly_map)
        difference = np.abs(change) if error == "absolute" else change**2
        if sigma:
            # Each row and each channel has a map of its own.
            widths = (0, 0) + (sigma,) * (difference.ndim - 2)
            difference = gaussian_filter(difference, widths)
        return difference.reshape(np.shape(X))

    def _smoothing_width(self, smoothing):
        axes = self.input_shape_[1:]
        if is_auto(smoothing):
            longer = [n for n in axes if n > 1]
            return max(0.5, min(longer) / 28) if len(axes) == 2 and longer else 0.0
        check_scalar(smoothing, "smoothing", Real, min_val=0)
        if smoothing and not axes:
            raise ValueError(
                f"smoothing={smoothing!r}, but the entries of plain rows have no "
                "neighbours. Pass 0, or fit with input_shape."
            )
        return float(smoothing)

    @available_if(_if_method_can("reconstruct"))
    @own_settings()
    def explain(self, X: ArrayLike, *, n_steps: int = 16) -> _Floats:
        """Contribution of each feature or pixel to the score.

        Integrated gradients [1]_ of the score along the straight line from a normal
        counterpart of the row to the row: what each entry adds to the score by being
        as it is and not as it would be in a normal row. Entries that lower the score
        are negative. What the gradients miss of the change of the score between two
        points of the line, such as a jump where another row becomes the nearest, is
        divided in proportion to what they give there. The counterpart is the row's
        :meth:`reconstruct`; for images and windows with the score "local", which goes
        by codes, it is the mean of the most similar reference rows.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to explain.
        n_steps : int, default=16
            Points on the line at which the gradient is taken.

        Returns
        -------
        ndarray of the shape of ``X``
            Contributions that add up to the score of the row less that of its
            counterpart, up to rounding. If the row is among the reference rows, it is
            left out of the search for neighbors of both.

        References
        ----------
        .. [1] M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep
           networks", ICML 2017, :arxiv:`1703.01365`.
        """
        check_is_fitted(self)
        check_scalar(n_steps, "n_steps", Integral, min_val=1)
        explain = partial(self.model_.explain, n_steps=n_steps)
        return self._map_rows(X, explain).reshape(np.shape(X))

    @out_of_memory(_less_memory)
    def _map_rows(self, X, function):
        """What ``function(x, own_groups)`` returns for all rows, (n, ...)."""
        outputs, model = [], self.model_
        X = self._validate(X)
        with model.threads():
            for rows, x in model.chunks(X, model.block_size):
                output = function(x, model.own_groups(rows, x.shape[1]))
                outputs.append(output[: len(rows)].cpu().double().numpy())
        return np.concatenate(outputs)

    @out_of_memory(_less_memory)
    def _map(self, X, function):
        """Stack of what ``function(model, x)`` returns, (n_members, n, ...)."""
        check_is_fitted(self)
        outputs, X, model = [], self._validate(X), self.model_
        with model.threads():
            for rows, x in self._progress(model.chunks(X, model.block_size), len(X)):
                with torch.inference_mode():
                    output = function(model, x)[:, : len(rows)]
                outputs.append(output.cpu().numpy())
        return np.concatenate(outputs, axis=1)
