"""quantctl inspect and convert as people run them: no server, files of this and other tools."""

import json
import struct

import pytest

from programs import MODEL, environment, program, run


def quantctl(*arguments, home):
    # A server that is not there: these commands need none.
    return run([program("quantctl"), *arguments], env=environment(
        HOME=str(home), QUANTD_SERVER="127.0.0.1:1"))


def write_safetensors(path, tensors):
    """{name: (dtype, shape, bytes)} as one file."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_awq(folder, scale=0.5):
    """One block, 64 wide, as AutoAWQ writes it: int4 in groups of 32."""
    half = struct.pack("<e", 1.0)
    tensors = {"model.embed_tokens.weight": ("F16", [32, 64], half * 32 * 64),
               "lm_head.weight": ("F16", [32, 64], half * 32 * 64),
               "model.norm.weight": ("F16", [64], half * 64)}
    block = "model.layers.0."
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{block}{norm}.weight"] = ("F16", [64], half * 64)
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        tensors[f"{block}{name}.qweight"] = ("I32", [64, 8], struct.pack("<I", 0x76543210) * 512)
        tensors[f"{block}{name}.qzeros"] = ("I32", [2, 8], struct.pack("<I", 0x88888888) * 16)
        tensors[f"{block}{name}.scales"] = ("F16", [2, 64], struct.pack("<e", scale) * 128)
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 32, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "torch_dtype": "float16",
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32,
                                "zero_point": True, "version": "gemm"}}))


def test_an_artifact_of_ours_has_no_problems(tmp_path):
    made = run([program("quantd-worker"), "quantize", MODEL, "--out", tmp_path / "made",
                "--method", "rtn", "--bits", "4", "--no-evaluation"])
    assert made.returncode == 0, made.stderr
    shown = quantctl("inspect", tmp_path / "made", home=tmp_path)
    assert shown.returncode == 0, shown.stdout
    assert "compressed-tensors pack-quantized" in shown.stdout
    assert "int4 g128 sym" in shown.stdout and "no problems found" in shown.stdout


def test_another_tools_layout_is_inspected_and_converted(tmp_path):
    write_awq(tmp_path / "awq")
    shown = quantctl("inspect", tmp_path / "awq", "--json", home=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    facts = json.loads(shown.stdout)
    assert facts["layout"] == "awq gemm" and facts["problems"] == []
    assert facts["bits_per_quantized_weight"] == pytest.approx(4 + 16 / 32 + 4 / 32)
    assert sum(module["quantized"] for module in facts["modules"]) == 7

    converted = quantctl("convert", tmp_path / "awq", "--format", "compressed-tensors",
                         "--out", tmp_path / "packed", home=tmp_path)
    assert converted.returncode == 0, converted.stderr
    assert quantctl("inspect", tmp_path / "packed", home=tmp_path).returncode == 0


def test_problems_have_their_exit_code(tmp_path):
    write_awq(tmp_path / "awq", scale=float("nan"))
    shown = quantctl("inspect", tmp_path / "awq", home=tmp_path)
    assert shown.returncode == 6
    assert "NaN or infinity" in shown.stdout
    refused = quantctl("inspect", tmp_path / "nothing", home=tmp_path)
    assert refused.returncode == 2 and "nothing there" in refused.stderr
