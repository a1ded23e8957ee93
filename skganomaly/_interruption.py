"""What Ctrl-C is, and whether the fit that it met may keep what was done."""

import dis
import signal
import sys
import threading

__all__ = ["fitted_at_prompt", "pressed_by_user"]


def pressed_by_user(error):
    """Whether a KeyboardInterrupt comes from a signal, not from a raise statement.

    The callbacks of skorch end a training by raising KeyboardInterrupt, which is what
    Ctrl-C in the middle of a callback looks like, too. Python's own handler of the
    signal raises from C, wherever the program happens to be; a handler of somebody
    else's shows among the frames of the traceback.

    Parameters
    ----------
    error : KeyboardInterrupt
        Just caught.

    Returns
    -------
    bool
    """
    handler = getattr(signal.getsignal(signal.SIGINT), "__code__", None)
    entry = error.__traceback__
    while entry.tb_next is not None:
        if entry.tb_frame.f_code is handler:
            return True
        entry = entry.tb_next
    code = entry.tb_frame.f_code
    raised = dis.opname[code.co_code[entry.tb_lasti]] == "RAISE_VARARGS"
    return code is handler or not raised


def fitted_at_prompt(estimator):
    """Whether a fit is all that was asked for, at a prompt or in a notebook.

    Then nothing goes on by itself when the fit ends early: the statement ends with the
    call of `fit`, which no loop, function, script, search or pipeline surrounds.

    Parameters
    ----------
    estimator : object
        Whose `fit`, or `fit_predict`, is running in the calling thread.

    Returns
    -------
    bool
    """
    at_prompt = hasattr(sys, "ps1")
    if not at_prompt or threading.current_thread() is not threading.main_thread():
        return False
    fits, caller, inside = _code_of(estimator, "fit", "fit_predict"), sys._getframe(), 0
    while caller is not None and not (inside and caller.f_code not in fits):
        inside += caller.f_code in fits
        caller = caller.f_back
    return (
        caller is not None
        and caller.f_locals is caller.f_globals
        and caller.f_globals.get("__name__") == "__main__"
        and _ends_here(caller)
    )


def _code_of(estimator, *methods):
    """The code of methods and of all that they are wrapped in."""
    found = set()
    for name in methods:
        function = getattr(type(estimator), name)
        while function is not None:
            found.add(function.__code__)
            function = getattr(function, "__wrapped__", None)
    return found


def _ends_here(frame):
    """Whether code neither calls anything nor goes back after where it is."""
    jumps = {*dis.hasjrel, *dis.hasjabs}
    for instruction in dis.get_instructions(frame.f_code):
        name = instruction.opname
        if instruction.offset <= frame.f_lasti:
            continue
        # An intrinsic is what prints the value of an expression at the prompt.
        if name.startswith("CALL") and "INTRINSIC" not in name:
            return False
        if instruction.opcode in jumps and instruction.argval <= frame.f_lasti:
            return False
    return True
