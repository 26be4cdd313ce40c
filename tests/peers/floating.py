#!/usr/bin/env python3
"""llm-compressor 0.14 on the floating formats: KL on the tokens that quantd evaluates.

    floating.py MODEL [--schemes NVFP4A16,MXFP4A16] [--methods rtn,gptq] [--samples 64]

Runs in requirements-llmcompressor.txt. Calibration and evaluation are the texts beside the
bundled model, in windows of 512 tokens; the quantized model stays in memory, in float32, with its
own rounding of weights. Prints a row per scheme and method: KL to the original and top-1.
"""

import argparse
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import windows
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../models/books-3m")
TOKENS = 512
# 0.14.0.1 pins host memory whether or not there is a device.
IntermediatesCache.pin_memory = lambda self, *arguments, **named: None


def log_probabilities(model, ids):
    with torch.no_grad():
        return [model(torch.tensor([window])).logits[0, :-1].log_softmax(-1) for window in ids]


def compare(reference, model, ids):
    divergence = agreeing = positions = 0
    for expected, found in zip(reference, log_probabilities(model, ids)):
        divergence += (expected.exp() * (expected - found)).sum().item()
        agreeing += (expected.argmax(-1) == found.argmax(-1)).sum().item()
        positions += len(expected)
    return divergence / positions, agreeing / positions


def quantize(arguments, scheme, method, calibration):
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    modifier = {"rtn": QuantizationModifier, "gptq": GPTQModifier}[method]
    recipe = [modifier(targets="Linear", scheme=scheme, ignore=["lm_head"])]
    given = {"model": model, "recipe": recipe,
             "processor": AutoTokenizer.from_pretrained(arguments.model)}
    if method != "rtn":
        rows = {"input_ids": calibration, "attention_mask": [[1] * TOKENS] * len(calibration)}
        given.update(dataset=Dataset.from_dict(rows), num_calibration_samples=len(calibration),
                     max_seq_length=TOKENS, shuffle_calibration_samples=False, batch_size=4)
    oneshot(**given)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--schemes", default="NVFP4A16,MXFP4A16")
    parser.add_argument("--methods", default="rtn,gptq")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--eval-windows", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    calibration, evaluation = (
        windows.cut(arguments.model, f"{TEXTS}/{text}.txt", count, TOKENS)["ids"]
        for text, count in (("calibration", arguments.samples),
                            ("evaluation", arguments.eval_windows)))
    original = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    reference = log_probabilities(original, evaluation)
    for scheme in arguments.schemes.split(","):
        for method in arguments.methods.split(","):
            model = quantize(arguments, scheme, method, calibration)
            divergence, agreeing = compare(reference, model, evaluation)
            print(f"{scheme:10} {method:5} KL {divergence:.5f}  top-1 {agreeing:.4f}", flush=True)


if __name__ == "__main__":
    main()
