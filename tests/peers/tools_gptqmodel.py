"""GPTQModel: the layout `gptq`. Its defaults: symmetric, group-aware order, damping 0.05."""


def run(job):
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    torch.set_num_threads(job.threads)
    names = {"symmetric": "sym", "damping": "damp_percent", "act_order": "desc_act",
             "group_aware": "act_group_aware"}
    more = {names[key]: value for key, value in job.options.items() if key in names}
    # The device stands in the configuration alone: load() refuses it when it stands in both.
    config = QuantizeConfig(bits=job.option("bits", 4), group_size=job.option("group", 128),
                            device="cpu", offload_to_disk=False, **more)
    model = GPTQModel.load(job.model, config, dtype=job.torch_dtype())
    samples = job.samples()
    with job.clock:
        model.quantize(samples, batch_size=job.option("batch", 8))
    model.save(job.out)
