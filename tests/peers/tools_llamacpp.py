"""llama.cpp: block formats of GGUF. The embedding stays in F16, as every other tool leaves it."""

import os
import shutil
import subprocess


def imatrix(job, source, programs):
    """The importance matrix of the calibration windows, back in text form: llama.cpp reads text."""
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(job.model, "tokenizer.json"))
    text, matrix = f"{job.out}/calibration.txt", f"{job.out}/imatrix.gguf"
    with open(text, "w", encoding="utf-8") as file:
        file.write(tokenizer.decode([i for window in job.windows for i in window],
                                    skip_special_tokens=False))
    subprocess.run([f"{programs}/llama-imatrix", "-m", source, "-f", text, "-o", matrix, "-t",
                    str(job.threads), "-c", str(len(job.windows[0])), "--no-ppl"], check=True)
    return ["--imatrix", matrix]


def run(job):
    import gguf_files
    import layouts

    programs, source = job.option("programs"), f"{job.out}/source.gguf"
    memory = f"{job.out}/memory"  # of llama-quantize: this process is larger
    gguf_files.write(job.model, layouts.read_tensors(job.model), source)
    with job.clock:
        more = imatrix(job, source, programs) if job.option("imatrix") else []
        subprocess.run(["/usr/bin/time", "-f", "%M", "-o", memory, f"{programs}/llama-quantize",
                        "--token-embedding-type", "f16", *more, source, f"{job.out}/model.gguf",
                        job.option("type"), str(job.threads)], check=True)
    with open(memory, encoding="utf-8") as file:
        job.measured["peak_mib"] = int(file.read()) / 1024
    os.remove(source)
    shutil.copy(os.path.join(job.model, "config.json"), job.out)
