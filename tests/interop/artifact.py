"""An artifact of quantd-worker with its own evaluation beside it: figures and logits."""

import json
import os
import shutil
import subprocess

TOKENS = 512


def quantize(worker, model, folder, flags, windows, logits_windows=None):
    """Makes `folder` anew from a model that has its evaluation.txt, in float32; returns the report.

    `windows` of 512 tokens are evaluated; the logits of the first `logits_windows` (default: all)
    lie in quantd/logits.safetensors. Raises CalledProcessError, with what was said as `stderr`, for
    a recipe that is refused.
    """
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    command = [worker, "quantize", model, "--out", folder, *flags.split(),
               "--evaluation", f"{model}/evaluation.txt", "--eval-windows", str(windows),
               "--seq-len", str(TOKENS), "--logits-windows", str(logits_windows or windows),
               "--compute", "f32", "--json"]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return json.loads(done.stdout)
