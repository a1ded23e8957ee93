"""From trained networks to scores, and to reference scores that a cut can go by."""

import numpy as np
import torch

from ._data import RowIndex, row_blocks, row_keys, to_single
from ._groups import one_score_a_group, twins
from ._health import HealthRecord
from ._local_score import LocalScore
from ._memorisation import (
    held_out_by_itself,
    not_held_out,
    not_held_out_for_share,
)
from ._scoring import JointScore, PartScore, part_magnitudes
from ._whitening import CodeDistribution

__all__ = ["CalibrationMixin"]


class CalibrationMixin:
    """Holds rows out, fits the scores, and finds what new rows would score."""

    def _fraction_by_itself(self, groups):
        """Share of the rows to hold out although nobody asked for it."""
        n_groups = groups.n_groups
        steps = self._chosen_steps()
        if steps is None:
            return 0.0
        n_passes = steps * min(self.batch_size, n_groups) / n_groups
        fraction = held_out_by_itself(
            n_passes,
            n_groups,
            kind=self._kind,
            score_type=self._auto("score_type"),
            rate=self.false_alarm_rate,
        )
        if self.contamination != "auto":
            if fraction != 0:
                self._not_held_out = not_held_out_for_share(
                    n_passes, self.contamination
                )
            return 0.0
        if fraction is None:
            self._not_held_out = not_held_out(
                n_passes, n_groups, groups=n_groups < len(groups)
            )
        return fraction or 0.0

    def _hold_out(self, groups, generator):
        """Positions of training rows and of held-out rows, of which there may be none.

        They increase, so that rows of a memory map are read in one sweep.
        """
        self.n_held_out_ = 0
        fraction = self.validation_fraction or self._fraction_by_itself(groups)
        if not fraction:
            self._check_held_out(self.threshold)
            return np.arange(len(groups)), np.empty(0, dtype=int)
        n_groups = groups.n_groups
        n_held_out = max(1, round(fraction * n_groups))
        if n_groups - n_held_out < 2:
            kind = "rows" if n_groups == len(groups) else "groups of rows"
            raise ValueError(
                f"validation_fraction={fraction:g} of {n_groups} {kind} leaves "
                f"{n_groups - n_held_out} for training, and at least 2 are needed. "
                "Lower it or pass more rows."
            )
        order = torch.randperm(n_groups, generator=generator).numpy()
        new = np.zeros(n_groups, dtype=bool)
        new[order[:n_held_out]] = True
        held_out = np.flatnonzero(new[groups.labels])
        self.n_held_out_ = len(held_out)
        return np.flatnonzero(~new[groups.labels]), held_out

    def _fit_scores(self, X_train, seen, X_held_out, held_out, generator):
        """Fit the scores on reference rows, then score rows new to them.

        Returns what was seen of the networks, and of the rows, on the way.
        """
        chosen = self._choose_references(seen, generator)
        X = X_train if len(chosen) == len(X_train) else X_train[chosen]
        # Numbered anew, as some groups may have no reference.
        kept, labels = np.unique(seen.labels[chosen], return_inverse=True)
        groups = torch.from_numpy(labels)
        self.score_type_ = self._auto("score_type")
        self._scores = self._new_scores()
        score, record = self._scores["score"], HealthRecord()
        lengths, chunks, magnitudes = [], [], []
        for rows, x in self._with_progress(X):
            padded = self._parts(x, {*self._part_names, *score.part_names, "row"})
            chunk = {name: part[:, : len(rows)].cpu() for name, part in padded.items()}
            lengths.append(len(rows))
            chunks.append({name: padded[name].cpu() for name in score.part_names})
            magnitudes.append(
                {name: part_magnitudes(chunk[name]) for name in self._part_names}
            )
            record.update(chunk["row"][0], chunk["reconstruction"], chunk["code"])
            # Of images, codes are what a score compares.
            record.vectors.append(chunk["row" if self._kind == "rows" else "code"][0])
        magnitudes = _join_chunks(magnitudes, lengths)
        if not all(torch.isfinite(m).all() for m in magnitudes.values()):
            raise FloatingPointError(
                "Training diverged: the trained networks give values that are not "
                f"finite. Lower learning_rate, which is "
                f"{self._auto('learning_rate')!r}."
            )
        for name, magnitude in magnitudes.items():
            self._scores[name].fit_magnitudes(magnitude)
        parts = _join_chunks(chunks, lengths)
        score.fit(parts, groups)
        self._scores["codes"].fit(*record.code_moments())
        self._references, values = self._index(X_train, seen.labels, kept, chosen)
        found = score.reference_scores(parts, groups, torch.from_numpy(values))
        self._scores.to(self.device_)
        if found is None:
            own = np.stack([labels, twins(values, labels)], axis=1)
            found = self._score_chunks(chunks, own), np.arange(len(chosen))
        scores, rows = map(np.asarray, found)
        units = labels[rows]
        n_rows = np.bincount(seen.originals, minlength=len(seen))[chosen][rows]
        if X_held_out is not None:
            trained, scores = scores, self._anomaly_scores(X_held_out)
            record.compare(trained, scores)
            units, n_rows = held_out.labels, np.ones(len(held_out), dtype=int)
        self.reference_scores_ = one_score_a_group(
            scores, n_rows, len(np.unique(units))
        )
        record.grouped = len(units) > len(self.reference_scores_)
        record.labels = labels
        return record

    def _choose_references(self, groups, generator):
        """Positions of the rows that scores are relative to, copies left out."""
        distinct = groups.distinct
        if len(distinct) <= self.max_references:
            return distinct
        drawn = torch.randperm(len(distinct), generator=generator).numpy()
        chosen = drawn[: self.max_references]
        labels = groups.labels[distinct]
        if (labels[chosen] == labels[chosen[0]]).all() and groups.n_groups > 1:
            # Its rows would have nobody to be compared with.
            chosen[-1] = drawn[np.argmax(labels[drawn] != labels[chosen[0]])]
        return distinct[np.sort(chosen)]

    def _index(self, X, labels, kept, chosen):
        """What finds, of all rows, those whose group has a reference.

        Rows in double precision are recognised in single precision, too. Returned with
        it are numbers that are the same for references that are equal.
        """
        members = np.flatnonzero(np.isin(labels, kept))
        casts = [np.asarray, to_single] if X.dtype == np.float64 else [np.asarray]
        keys = np.concatenate(
            [
                row_keys(self.scaler_.transform(cast(X[members[block]])))
                for cast in casts
                for block in row_blocks(len(members), X.shape[1])
            ]
        )
        groups = np.searchsorted(kept, labels[members])
        own_keys = keys[np.searchsorted(members, chosen)]
        _, values = np.unique(own_keys, return_inverse=True)
        return RowIndex(keys, np.tile(groups, len(casts))), values

    def _score_chunks(self, chunks, own):
        """Scores of the reference rows as if they were new.

        Their parts are at hand, and finding them again may take a search.
        """
        if (own[:, 1] < 0).all():
            own = own[:, :1]
        scores = []
        size = self._chunk_rows[self._kind]
        for padded, start in zip(chunks, range(0, len(own), size), strict=True):
            parts = {name: part.to(self.device_) for name, part in padded.items()}
            groups = torch.full((size, own.shape[1]), -1, dtype=torch.int64)
            n_rows = len(own[start : start + size])
            groups[:n_rows] = torch.from_numpy(own[start : start + size])
            with torch.inference_mode():
                values = self._scores["score"](parts, groups.to(self.device_))
            scores.append(values[:n_rows].cpu().numpy())
        return np.concatenate(scores)

    def _new_scores(self):
        """The unfitted score and, for each part, its score alone."""
        scores = {name: PartScore(name) for name in self._part_names}
        scores["score"] = self._new_score()
        scores["codes"] = CodeDistribution()
        return torch.nn.ModuleDict(scores)

    def _new_score(self):
        if self.score_type_ == "local":
            return LocalScore(
                self._local_parts[self._kind], **self._local_options[self._kind]
            )
        if self.score_type_ == "joint":
            return JointScore(self._part_names)
        return PartScore(self.score_type_)


def _join_chunks(chunks, lengths):
    """Join dicts of tensors along their row axis, without what pads them."""
    return {
        name: torch.cat(
            [c[name][:, :n] for c, n in zip(chunks, lengths, strict=True)], dim=1
        )
        for name in chunks[0]
    }
