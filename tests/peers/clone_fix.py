"""Repairs a fault of AutoAWQ 0.2.9 on CPU.

Before the search for scales it keeps `{name: tensor.cpu()}` of the weights. On a GPU that is a
copy. On CPU it is the same memory, which the search then overwrites: every candidate after the
first, and the final weights, start from weights already scaled. No error, no warning. With
`.clone()` the CPU does what the GPU does.
"""

import inspect
import textwrap

KEPT, COPIED = "v.cpu()", "v.cpu().clone()"


def repair(module, owner):
    """Recompiles owner._compute_best_scale, a method of a class in `module`, with the copy."""
    name = "_compute_best_scale"
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    if COPIED in source or KEPT not in source:
        raise RuntimeError(f"{module.__name__}: not the version that this repair was made for")
    scope = dict(vars(module))
    exec(compile(source.replace(KEPT, COPIED), f"{name} (repaired)", "exec"), scope)
    setattr(owner, name, scope[name])
