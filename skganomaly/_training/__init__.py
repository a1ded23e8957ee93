"""Training: one step, the state of a run, and skorch's loop around them.

The only place that knows skorch.
"""
