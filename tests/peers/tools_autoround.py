"""AutoRound: signed gradient descent on rounding and range, block by block. Its defaults but the
number of samples; not gradient-free, and slow: stated beside the others, not compared with."""

import os
import shutil


def move_up(folder):
    """It writes into a folder of its own below the one that it was given."""
    for name in os.listdir(folder):
        below = os.path.join(folder, name)
        if os.path.isdir(below) and os.path.exists(os.path.join(below, "config.json")):
            for each in os.listdir(below):
                shutil.move(os.path.join(below, each), folder)


def run(job):
    from auto_round import AutoRound

    model = job.load()
    bits, symmetric = job.option("bits", 4), job.option("symmetric", True)
    rounding = AutoRound(model, job.tokenizer(), bits=bits, group_size=job.option("group", 128),
                         sym=symmetric, iters=job.option("iterations", 200),
                         nsamples=len(job.windows), seqlen=len(job.windows[0]),
                         batch_size=job.option("batch", 8), device_map="cpu",
                         enable_torch_compile=False, amp=True, dataset=job.samples())
    layout = "auto_gptq" if bits == 4 and symmetric else "auto_round"
    with job.clock:  # packing and writing included
        rounding.quantize_and_save(job.out, format=layout)
    move_up(job.out)
