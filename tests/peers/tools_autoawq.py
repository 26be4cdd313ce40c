"""AutoAWQ: 4 bits with zero points, the layout `awq`."""

import clone_fix


def run(job):
    import awq.quantize.quantizer as quantizer
    import torch
    from awq import AutoAWQForCausalLM

    torch.set_num_threads(job.threads)
    if job.option("fix", True):
        clone_fix.repair(quantizer, quantizer.AwqQuantizer)
    model = AutoAWQForCausalLM.from_pretrained(job.model, device_map="cpu", safetensors=True,
                                               torch_dtype=job.torch_dtype())
    config = {"zero_point": True, "q_group_size": job.option("group", 128),
              "w_bit": job.option("bits", 4), "version": "GEMM"}
    with job.clock:
        model.quantize(job.tokenizer(), quant_config=config, calib_data=job.windows,
                       max_calib_samples=len(job.windows),
                       max_calib_seq_len=len(job.windows[0]))
    model.save_quantized(job.out)
