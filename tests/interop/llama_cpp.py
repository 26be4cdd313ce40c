"""llama.cpp (the package xllamacpp, on CPU) on a GGUF file: probabilities and tokens.

`run` starts this file as a program, because llama.cpp ends the process where it finds a file wrong.
The window is given as ids, prefix by prefix; each answer is the next token's log probabilities over
the whole vocabulary, before any sampling. Keys and values are kept in float32, without flash
attention and on one thread: what is left of llama.cpp's own rounding is that of activations.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

import numpy

# Of the spread of log probabilities. A dot product rounds activations to what its type of weights
# is multiplied by; the error of a linear, relative to its output, is then that of rounding: 0.03 %
# to float16, 0.1 % to bfloat16, 0.6 to 0.8 % to 8 bits per block. A few layers add up.
LIMITS = {"F32": 1e-4, "F16": 1e-3, "BF16": 5e-3, "": 2e-2}
# Random weights make attention choose single positions, and logits far apart.
OF_RANDOM_WEIGHTS = 3


@dataclasses.dataclass
class Answer:
    log_probabilities: numpy.ndarray  # [positions, vocabulary]
    tokens: list                      # of each text


def run(path, window, positions, texts=()):
    """What llama.cpp says after each of `positions` tokens of the window, and how it cuts texts.

    Raises ValueError with llama.cpp's words if it refuses the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        request = {"path": path, "window": [int(token) for token in window],
                   "positions": list(positions), "texts": list(texts),
                   "out": os.path.join(folder, "out.npy")}
        done = subprocess.run([sys.executable, os.path.abspath(__file__)], text=True,
                              input=json.dumps(request), capture_output=True, check=False)
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines()
            said = [line for line in lines if "rror" in line or "ASSERT" in line]
            raise ValueError("llama.cpp: " + "\n".join((said or lines)[-4:]))
        with open(request["out"] + ".json", encoding="utf-8") as file:
            tokens = json.load(file)
        return Answer(numpy.load(request["out"]), tokens)


def distance(reference, answer):
    """Root mean square of the differences of log probabilities, relative to the spread of the
    reference; both [positions, vocabulary]."""
    reference = reference - reference.mean(-1, keepdims=True)
    answer = answer - answer.mean(-1, keepdims=True)
    return float(numpy.sqrt(((answer - reference) ** 2).mean() / (reference ** 2).mean()))


def limit_of(kind, random_weights):
    """The largest distance that the rounding of activations explains for weights of that type."""
    return LIMITS.get(kind, LIMITS[""]) * (OF_RANDOM_WEIGHTS if random_weights else 1)


def tokenize(server, text):
    request = urllib.request.Request(
        server.listening_address + "/tokenize", headers={"Content-Type": "application/json"},
        data=json.dumps({"content": text, "add_special": True, "parse_special": True}).encode())
    with urllib.request.urlopen(request) as response:
        return json.load(response)["tokens"]


def log_probabilities(server, prompt, chosen):
    """Of the token after the prompt, by id. They are those of the model; the bias makes the sampler
    take `chosen`, because after a token that ends the text there would be no answer."""
    answer = server.handle_completions(
        {"prompt": prompt, "n_predict": 1, "n_probs": 1 << 20, "cache_prompt": True,
         "logit_bias": [[chosen, 1000]]})
    if "choices" not in answer:
        raise ValueError(json.dumps(answer))
    listed = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    row = numpy.full(len(listed), numpy.nan)
    for entry in listed:
        row[entry["id"]] = entry["logprob"]
    return row


def main():
    import xllamacpp

    request = json.load(sys.stdin)
    params = xllamacpp.CommonParams()
    params.model.path = request["path"]
    params.n_ctx = max(256, len(request["window"]) + 1)
    params.n_parallel = 1
    params.warmup = False
    params.fit_params = False
    params.check_tensors = True
    params.port = 0
    params.verbosity = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    chosen = tokenize(server, "a")[-1]
    rows = [log_probabilities(server, request["window"][:count], chosen)
            for count in request["positions"]]
    tokens = [tokenize(server, text) for text in request["texts"]]
    numpy.save(request["out"], numpy.array(rows))
    with open(request["out"] + ".json", "w", encoding="utf-8") as file:
        json.dump(tokens, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
