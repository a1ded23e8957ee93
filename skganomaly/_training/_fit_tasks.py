"""What scikit-learn's callbacks are told while a detector is fitted."""

from skorch.callbacks import Callback

__all__ = ["FitTasks"]


class FitTasks:
    """The tree of tasks that a fit is, for the callbacks of scikit-learn 1.9 or later.

    The root is the fit. Its tasks are the epochs of the training or, where there are
    several trainings, these, and the epochs theirs.

    Parameters
    ----------
    estimator : object
        The detector that is fitted.
    X, y : object
        What `fit` was given.
    n_trainings : int or None, default=1
        How many trainings the fit has; None if that is not known.
    snapshot : callable or None, default=None
        ``snapshot(net)`` returns the attributes that the detector would have if `fit`
        ended now. It is called only for callbacks that ask for a fitted estimator.
    """

    def __init__(self, estimator, X, y, *, n_trainings=1, snapshot=None):
        self.estimator = estimator
        self.data = {"X": X, "y": y}
        self.n_trainings = n_trainings
        self.snapshot = snapshot
        self.root = None
        self.n_begun = 0

    def run(self, net, label, train):
        """Call ``train()``, telling of each epoch of a net.

        Parameters
        ----------
        net : AdversarialNet
            Initialised.
        label : str
            Name of the training.
        train : callable
            Trains the net.
        """
        if self.n_begun == self.n_trainings:
            raise ValueError(
                f"{type(self.estimator).__name__} trains more often than its "
                f"_n_trainings, {self.n_trainings}, says. Set it to the number of "
                "trainings of a fit, or to None if that is not known beforehand."
            )
        self.n_begun += 1
        if not hasattr(self.estimator, "_init_callback_context"):
            train()
            return
        if self.root is None:
            one = self.n_trainings == 1
            self.root = self.estimator._init_callback_context(
                max_subtasks=net.max_epochs if one else self.n_trainings
            )
            self._begin(self.root)
        context = self.root
        if self.n_trainings != 1:
            context = self.root.subcontext(label, max_subtasks=net.max_epochs)
            self._begin(context)
        # Last, so that the other callbacks have seen an epoch that ends the training.
        net.callbacks_.append(("fit_tasks", _Epochs(self, context)))
        try:
            train()
        finally:
            net.callbacks_.pop()
        if context is not self.root:
            self._end(context)

    def end(self):
        """Tell that the fit has ended."""
        if self.root is not None:
            self._end(self.root)

    def _begin(self, context):
        context.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _end(self, context, attributes=None):
        return context.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=attributes,
            **self.data,
        )


class _Epochs(Callback):
    """Tells of the epochs of one training."""

    def __init__(self, tasks, parent):
        self.tasks = tasks
        self.parent = parent

    def on_epoch_begin(self, net, **kwargs):
        self.context = self.parent.subcontext("epoch")
        self.tasks._begin(self.context)

    def on_epoch_end(self, net, **kwargs):
        attributes = None
        if self.tasks.snapshot is not None:
            attributes = lambda: self.tasks.snapshot(net)  # noqa: E731
        if self.tasks._end(self.context, attributes):
            raise KeyboardInterrupt
