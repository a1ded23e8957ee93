"""What a fitted detector can do: score rows, judge them, and look inside."""

import warnings
from numbers import Integral, Real

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from ._cut import is_auto
from ._data import draw_seed, row_keys
from ._decisions import DecisionMixin
from ._local_score import LocalScore
from ._process import own_settings
from ._value_range import units_differ
from .thresholds import p_values

__all__ = ["InferenceMixin"]

# Plain rows that are scored at once have no more values than this, if they are not
# fewer than that.
_CHUNK_VALUES = 2**20
_FEWEST_ROWS = 16
_TINY = 1e-30


class InferenceMixin(DecisionMixin):
    """Methods of a fitted detector."""

    # Rows that are scored at once, at most; see _chunks.
    _chunk_rows = {"rows": 256, "maps": 64}

    @property
    def _chunk_size(self):
        """Rows of a chunk, which depends on the shape of a row alone."""
        if self._kind == "maps":
            return self._chunk_rows["maps"]
        affordable = max(_FEWEST_ROWS, _CHUNK_VALUES // self.n_features_in_)
        return min(self._chunk_rows["rows"], affordable)

    def _chunks(self, X):
        """Blocks of one fixed shape: the scaled rows, and the same padded, on device.

        Matrix products round differently for different shapes; with one shape a
        row's score does not depend on how many rows came with it.
        """
        size = self._chunk_size
        for start in range(0, len(X), size):
            rows = self.scaler_.transform(X[start : start + size])
            # Allocated by torch, whose memory always has the same alignment.
            x = torch.zeros(size, *self.input_shape_, dtype=torch.float32, device="cpu")
            x[: len(rows)] = torch.from_numpy(rows)
            x = x.to(self.device_)
            yield rows, x.expand(self.n_members_, *x.shape)

    # Whether scoring takes so long that it shows a progress bar.
    _searches = False

    def _with_progress(self, X):
        """The chunks of ``X``, with a bar over its rows if a search is asked to."""
        hidden = not (self.verbose and self._searches)
        label = f"{type(self).__name__}, search"
        with tqdm(total=len(X), desc=label, unit="row", disable=hidden) as bar:
            for rows, x in self._chunks(X):
                yield rows, x
                bar.update(len(rows))

    def _parts(self, x, names):
        with torch.inference_mode():
            return self._score_parts(self.net_.networks, x, names)

    def _own_references(self, keys, n_padded, name="score"):
        """For each row of a chunk, the group of references that it is of, or -1."""
        own = torch.full((n_padded,), -1, dtype=torch.int64, device="cpu")
        if self._scores[name].searches:
            own[: len(keys)] = torch.from_numpy(self._references.find(keys))
        return own.to(self.device_)

    def _score_tensor(self, x, own, name="score"):
        score = self._scores[name]
        return score(self._score_parts(self.net_.networks, x, score.part_names), own)

    def _anomaly_scores(self, X, name="score"):
        """Anomaly scores of validated rows, by the score or by one part alone."""
        scores = []
        for rows, x in self._with_progress(X):
            own = self._own_references(row_keys(rows), x.shape[1], name)
            with torch.inference_mode():
                values = self._score_tensor(x, own, name)
            scores.append(values[: len(rows)].cpu().numpy())
        return np.concatenate(scores).astype(np.float64)

    @own_settings()
    def anomaly_score(self, X, *, part=None):
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
        if part is not None and part not in self._part_names:
            raise ValueError(
                f"part={part!r} is not a part of this score. Use one of "
                f"{list(self._part_names)}, or None for the score itself."
            )
        X = self._validate(X, reset=False)
        names = getattr(self, "feature_names_in_", None)
        problem = units_differ(X, self.value_range_, names)
        if problem is not None:
            warnings.warn(problem, UserWarning, stacklevel=3)
        return self._anomaly_scores(X, part or "score")

    def score(self, X, y=None):
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
    def p_values(self, X):
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
    def set_threshold(self, threshold="auto", *, false_alarm_rate=None):
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
        """
        check_is_fitted(self)
        if not self.n_held_out_:
            self._check_held_out(threshold)
        by_default = is_auto(threshold)
        if by_default and false_alarm_rate is None and self._contamination_rule_:
            self.threshold_rule_ = self._contamination_rule_
            self.offset_ = -float(self.threshold_rule_.threshold_)
            return self
        rate = self._rate_ if false_alarm_rate is None else false_alarm_rate
        return self._cut(threshold, rate)

    def _check_held_out(self, threshold):
        """Refuse a rule that needs held-out rows where there are none."""
        if isinstance(threshold, str) and threshold == "conformal":
            raise ValueError(
                "threshold='conformal' needs rows that training does not see, and "
                "none are held out. Fit with validation_fraction=0.2, for example."
            )

    @own_settings()
    def encode(self, X):
        """Latent codes of rows.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw

        Returns
        -------
        ndarray of shape (n_samples, n_members * latent_dim)
            The codes of all members side by side; each has a latent space of its own.
        """
        codes = self._map(X, self._encode)
        return codes.transpose(1, 0, 2).reshape(codes.shape[1], -1).astype(np.float64)

    @own_settings()
    def reconstruct(self, X):
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
        scaled = self._map(X, self._reconstruct).mean(axis=0)
        return self.scaler_.inverse_transform(scaled).reshape(np.shape(X))

    @own_settings()
    def sample(self, n_samples=1, *, random_state=None):
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
        size = self._chunk_size
        rows = []
        for start in range(0, n_samples, size):
            n_drawn = min(size, n_samples - start)
            codes = self._draw_codes(n_drawn, generator)
            member = torch.randint(self.n_members_, (n_drawn,), generator=generator)
            with torch.inference_mode():
                drawn = self._decode(self.net_.networks, codes)
            chosen = drawn[member, torch.arange(n_drawn)]
            rows.append(chosen.cpu().numpy())
        return self.scaler_.inverse_transform(np.concatenate(rows)).reshape(
            n_samples, *self.input_shape_
        )

    def _draw_codes(self, n_samples, generator):
        """Codes of new rows, (n_members, n_samples, latent_dim), on the device."""
        shape = self.n_members_, n_samples, self.latent_dim_
        draws = torch.randn(shape, generator=generator, dtype=torch.float32)
        return self._scores["codes"](draws.to(self.device_))

    @own_settings()
    def anomaly_map(self, X, *, error="absolute", smoothing="auto"):
        """How far each entry of a row is from its normal counterpart.

        Where :meth:`explain` says what an entry does to the score, this says where a
        row looks wrong, whatever the score. The counterpart is the one that
        :meth:`explain` starts from.

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
            Differences, in the scaled units of ``scaler_``, so that features can be
            compared with each other.
        """
        check_is_fitted(self)
        if error not in ("absolute", "squared"):
            raise ValueError(f"error must be 'absolute' or 'squared', got {error!r}.")
        sigma = self._smoothing_width(smoothing)
        maps = []
        for rows, x in self._chunks(self._validate(X, reset=False)):
            own = self._own_references(row_keys(rows), x.shape[1])
            with torch.inference_mode():
                change = (x[0] - self._counterpart(x, own))[: len(rows)]
            change = change.cpu().double().numpy()
            maps.append(np.abs(change) if error == "absolute" else change**2)
        difference = np.concatenate(maps)
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

    @own_settings()
    def explain(self, X, *, n_steps=16):
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
        contributions = []
        for rows, x in self._chunks(self._validate(X, reset=False)):
            own = self._own_references(row_keys(rows), x.shape[1])
            with torch.no_grad():
                counterpart = self._counterpart(x, own)
            contribution = self._contributions(x, counterpart, own, n_steps)
            contributions.append(contribution[: len(rows)].cpu().double().numpy())
        return np.concatenate(contributions).reshape(np.shape(X))

    def _contributions(self, x, counterpart, own, n_steps):
        """Integrated gradients of the scores of ``x`` from their counterparts.

        A gradient does not see the jumps of a score, such as those where another row
        becomes the nearest. What a stretch of the line changes in the score beyond
        its gradients is divided in proportion to the sizes of what these say, so that
        the contributions of all stretches add up to the whole change.
        """
        change = x[0] - counterpart
        total = torch.zeros_like(change)
        before, slope = self._scores_along(counterpart, x, own), None
        for step in range(n_steps):
            share = (step + 0.5) / n_steps
            point = (counterpart + share * change).requires_grad_()
            score = self._scores_along(point, x, own)
            gradient = torch.autograd.grad(score.sum(), point)[0]
            # From the middle of the last step to the middle of this one.
            steps = [gradient] if slope is None else [slope, gradient]
            total += _complete(
                sum(steps) * change / (2 * n_steps), change, score.detach() - before
            )
            before, slope = score.detach(), gradient
        last = slope * change / (2 * n_steps)
        return total + _complete(
            last, change, self._scores_along(x[0], x, own) - before
        )

    def _scores_along(self, point, x, own):
        with torch.set_grad_enabled(point.requires_grad):
            return self._score_tensor(point.expand(x.shape), own)

    def _counterpart(self, x, own):
        """A normal row to compare each row with, scaled."""
        score = self._scores["score"]
        if isinstance(score, LocalScore) and self._kind == "maps":
            parts = self._score_parts(self.net_.networks, x, score.part_names)
            return score.nearest_rows(parts, own).view(x.shape[1:])
        return self._reconstruct(self.net_.networks, x).mean(0)

    def _map(self, X, function):
        """Stack of what ``function(networks, x)`` returns, (n_members, n, ...)."""
        check_is_fitted(self)
        outputs = []
        for rows, x in self._with_progress(self._validate(X, reset=False)):
            with torch.inference_mode():
                output = function(self.net_.networks, x)[:, : len(rows)]
            outputs.append(output.cpu().numpy())
        return np.concatenate(outputs, axis=1)


def _complete(parts, change, gain):
    """Add to first-order parts of a gain what they lack.

    In proportion to their sizes; where there are none, to squared changes.
    """
    flat, squares = parts.flatten(1), change.flatten(1).square()
    sizes = flat.abs()
    sizes = torch.where(sizes.sum(1, keepdim=True) > 0, sizes, squares)
    shares = sizes / sizes.sum(1, keepdim=True).clamp_min(_TINY)
    missing = gain - flat.sum(1)
    return (flat + shares * missing[:, None]).view_as(parts)
