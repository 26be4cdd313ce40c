"""One artifact in vLLM on the CPU: its logits of given windows, in a process of its own.

vLLM's process groups do not survive a second engine, so each artifact gets a child of a process
that has imported it (20 s) once.
"""

import json
import os
import sys
import traceback
import warnings

# The engine runs in this process, where its model can be reached; prompts fill the whole context.
os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", VLLM_NO_USAGE_STATS="1",
    VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_ALLOW_LONG_MAX_MODEL_LEN="1", VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_LOGGING_LEVEL=os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"), TQDM_DISABLE="1")
warnings.simplefilter("ignore")

import torch  # noqa: E402  (the environment is set first)
from vllm import LLM, SamplingParams  # noqa: E402

import vllm_stand_ins  # noqa: E402


def kernels_of(model):
    """Which classes of vLLM hold the linears."""
    found = set()
    for module in model.modules():
        method = getattr(module, "scheme", None) or getattr(module, "quant_method", None)
        if method is None:
            continue
        kernel = getattr(method, "kernel", None)
        found.add(type(method).__name__ + (f" ({type(kernel).__name__})" if kernel else ""))
    return sorted(name for name in found
                  if not name.startswith("Unquantized") and "KVCache" not in name)


def logits_of(folder, windows):
    """(float32 logits [windows, tokens, vocabulary], kernels). The log probabilities that vLLM
    gives a caller must be those of the logits."""
    tokens = windows.shape[1]
    llm = LLM(folder, dtype="float32", enforce_eager=True, max_model_len=tokens + 1, max_num_seqs=1,
              max_num_batched_tokens=tokens + 1, enable_prefix_caching=False)
    executor = llm.llm_engine.engine_core.engine_core.model_executor
    model = executor.driver_worker.worker.model_runner.model
    compute, seen, logits = model.compute_logits, [], []
    model.compute_logits = lambda hidden: seen.append(compute(hidden)) or seen[-1]
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0)
    for window in windows.tolist():
        seen.clear()
        reply = llm.generate([{"prompt_token_ids": window}], sampling, use_tqdm=False)[0]
        last, prompt = sorted((each.float().clone() for each in seen), key=len)
        told = torch.tensor([position[token].logprob for position, token
                             in zip(reply.prompt_logprobs[1:], window[1:])])
        own = prompt.log_softmax(-1).gather(-1, torch.tensor(window[1:]).unsqueeze(-1)).squeeze(-1)
        if (told - own).abs().max() > 1e-3:
            raise ValueError("vLLM's log probabilities are not those of its logits")
        logits.append(torch.cat([prompt, last]))
    return torch.stack(logits), kernels_of(model)


def run(folder, windows, use):
    """What `use(logits)` makes of them, as {"result", "kernels", "stand_ins"}, or {"error"}: why
    vLLM did not load or run the artifact. `result` must be fit for JSON."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            logits, kernels = logits_of(folder, windows)
            answer = {"result": use(logits), "kernels": kernels,
                      "stand_ins": sorted(vllm_stand_ins.USED)}
        except BaseException as error:  # noqa: B036 pylint: disable=broad-except
            if os.environ.get("VLLM_TRACE"):
                traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(writing, "w") as file:
            json.dump(answer, file)
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if text else {"error": f"the process ended with status {status}"}
