"""llm-compressor: the layouts of compressed-tensors, packed weights or int8 with activations."""


def weights_scheme(job):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    weights = QuantizationArgs(num_bits=job.option("bits", 4), strategy="group",
                               group_size=job.option("group", 128),
                               symmetric=job.option("symmetric", True))
    return QuantizationScheme(targets=["Linear"], weights=weights)


def int8_scheme():
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    return QuantizationScheme(
        targets=["Linear"],
        weights=QuantizationArgs(num_bits=8, symmetric=True, strategy="channel"),
        input_activations=QuantizationArgs(num_bits=8, symmetric=True, strategy="token",
                                           dynamic=True))


def gptq(scheme):
    from llmcompressor.modifiers.gptq import GPTQModifier
    return [GPTQModifier(config_groups={"all": scheme}, ignore=["lm_head"])]


def awq(scheme):
    from llmcompressor.modifiers.transform.awq import AWQModifier
    return [AWQModifier(), *plain(scheme)]


def plain(scheme):
    from llmcompressor.modifiers.quantization import QuantizationModifier
    return [QuantizationModifier(config_groups={"all": scheme}, ignore=["lm_head"])]


def smoothquant(scheme, strength):
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
    return [SmoothQuantModifier(smoothing_strength=strength), *plain(scheme)]


def modifiers(job):
    """(what to do to the model, whether that needs samples)."""
    method = job.option("method")
    if method == "rtn":
        return plain(weights_scheme(job)), False
    if method == "int8":
        return plain(int8_scheme()), False
    if method == "smoothquant":
        return smoothquant(int8_scheme(), job.option("strength", 0.8)), True
    return {"gptq": gptq, "awq": awq}[method](weights_scheme(job)), True


def run(job):
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache

    # 0.14 pins host memory whether or not there is a device to copy to.
    IntermediatesCache.pin_memory = lambda self, *arguments, **named: None
    model = job.load()
    recipe, needs_samples = modifiers(job)
    more = {"pipeline": "datafree"}
    if needs_samples:
        masks = [[1] * len(ids) for ids in job.windows]
        more = {"pipeline": "independent", "batch_size": job.option("batch", 8),
                "dataset": Dataset.from_dict({"input_ids": job.windows, "attention_mask": masks}),
                "num_calibration_samples": len(job.windows),
                "max_seq_length": len(job.windows[0]), "shuffle_calibration_samples": False}
    with job.clock:
        oneshot(model=model, recipe=recipe, processor=job.tokenizer(), **more)
    model.save_pretrained(job.out, save_compressed=True)
