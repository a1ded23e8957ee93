"""The model layer: what is trained and what is fitted, as torch modules.

It knows rows as tensors with a leading member axis, (n_members, n_rows, ...), and
nothing of estimators or of the training loop. *Rows* are plain rows of a table, *maps*
are images and windows.
"""
