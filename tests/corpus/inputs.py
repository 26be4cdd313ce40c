"""Inputs that people have fed to quantization tools, as public bug reports of those tell them, made
small: each a function that makes the input, the flags, and the verdict that it must get."""

import dataclasses
import json
import os
import typing

LFS_POINTER = ("version https://git-lfs.github.com/spec/v1\n"
               "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
               "size 6562304\n")
WEIGHTS_ALONE = "--method rtn --no-evaluation"
EVALUATED = "--method rtn --eval-windows 2 --seq-len 64"
CALIBRATED = "--method awq --samples 4 --eval-windows 2 --seq-len 64"


@dataclasses.dataclass
class Input:
    """`make` gets a ModelFolder and may return more flags. `refused`: the reason, and words that
    the message has; None: it works, and `says` stands in stderr (warnings)."""
    name: str
    make: typing.Callable
    flags: str = WEIGHTS_ALONE
    refused: typing.Optional[str] = None
    says: tuple = ()
    equal: bool = False  # the evaluation is that of the unchanged model


INPUTS = []


def case(flags=WEIGHTS_ALONE, refused=None, says=(), equal=False):
    def add(make):
        INPUTS.append(Input(make.__name__, make, flags, refused, tuple(says), equal))
        return make
    return add


# ---------------------------------------------------------------- what lies there instead

@case(refused="MODEL_CORRUPT", says=["a Git LFS pointer", "git lfs pull"])
def weights_are_a_git_lfs_pointer(model):
    model.write()
    model.put("model.safetensors", LFS_POINTER)


@case(EVALUATED, refused="MODEL_CORRUPT", says=["tokenizer.json", "a Git LFS pointer"])
def tokenizer_is_a_git_lfs_pointer(model):
    model.write()
    model.put("tokenizer.json", LFS_POINTER)


@case(refused="MODEL_NOT_FOUND", says=["a LoRA adapter", "merge_and_unload"])
def a_lora_adapter(model):
    model.put("adapter_config.json", "{}")
    model.put("adapter_model.safetensors")


@case(refused="MODEL_NOT_FOUND", says=["pytorch_model.bin", "pickle"])
def weights_in_a_pickle(model):
    model.put("pytorch_model.bin")


@case(refused="MODEL_NOT_FOUND", says=["a download that did not end"])
def an_unfinished_download(model):
    model.put("model.safetensors.incomplete")


@case(refused="MODEL_CORRUPT", says=["weights.safetensors", "a link to nowhere"])
def a_link_to_nowhere(model):
    os.symlink("../../blobs/gone", model.path / "weights.safetensors")


@case(refused="MODEL_CORRUPT", says=["C64"])
def a_complex_tensor(model):
    model.tensors["model.extra"] = ("C64", [2], bytes(16))
    model.write()


@case(says=["model.extra"])
def an_empty_tensor_beside_others(model):
    model.tensors["model.extra"] = ("F32", [0], b"")
    model.write()


@case(EVALUATED, refused="MODEL_UNSUPPORTED", says=["novel", "--no-evaluation"])
def an_unknown_family_with_default_flags(model):
    model.config["model_type"] = "novel"
    model.write()


@case()
def an_unknown_family_without_evaluation(model):
    model.config["model_type"] = "novel"
    model.write()


# ---------------------------------------------------------------- layouts

@case(EVALUATED, equal=True)
def several_files_without_an_index(model):
    model.write(shards=2, index=False)


@case(EVALUATED, equal=True)
def tensors_without_the_prefix_of_the_model(model):
    model.tensors = {name.removeprefix("model."): value for name, value in model.tensors.items()}
    model.write()


@case(EVALUATED, equal=True)
def an_index_that_lists_a_tied_head(model):
    model.write(shards=2)
    index = json.loads((model.path / "model.safetensors.index.json").read_text("utf-8"))
    weight_map = index["weight_map"]
    weight_map["lm_head.weight"] = weight_map["model.embed_tokens.weight"]
    model.write_index(weight_map)


@case(EVALUATED, equal=True)
def an_index_that_lacks_a_buffer(model):
    model.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", [2], bytes(8))
    model.write(shards=2)
    index = json.loads((model.path / "model.safetensors.index.json").read_text("utf-8"))
    weight_map = index["weight_map"]
    weight_map.pop("model.layers.0.self_attn.rotary_emb.inv_freq")
    model.write_index(weight_map)


@case(EVALUATED, equal=True)
def words_that_are_no_json_in_the_configuration(model):
    model.write()
    text = json.dumps(model.config)[:-1] + ', "router_jitter": NaN, "limit": Infinity}'
    model.put("config.json", text)


@case()
def an_unknown_rope_where_nothing_is_computed(model):
    model.config["rope_scaling"] = {"rope_type": "novel", "factor": 2.0}
    model.write()


@case(EVALUATED, refused="MODEL_UNSUPPORTED", says=["novel"])
def an_unknown_rope_where_it_counts(model):
    model.config["rope_scaling"] = {"rope_type": "novel", "factor": 2.0}
    model.write()


@case(EVALUATED, equal=True)
def rope_parameters_of_transformers_5(model):
    theta = model.config.pop("rope_theta")
    model.config["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    model.config["dtype"] = model.config.pop("torch_dtype")
    model.write()


@case(EVALUATED, says=["lm_head"])
def a_head_that_differs_although_it_is_called_tied(model):
    dtype, shape, data = model.tensors["model.embed_tokens.weight"]
    model.tensors["lm_head.weight"] = (dtype, shape, data[512:] + data[:512])
    model.write()


@case(EVALUATED, equal=True)
def a_head_that_is_the_embedding(model):
    model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"]
    model.write()


# ---------------------------------------------------------------- texts

def text_file(model, name, content):
    model.write()
    model.put(name, content)
    return ["--calibration", str(model.path / name)]


def sentences(count):
    return [f"It was the {number}th morning of a long year, and the rain had not ended yet."
            for number in range(count)]


@case(CALIBRATED)
def lines_of_json_with_a_text(model):
    return text_file(model, "t.jsonl", "\n".join(json.dumps({"text": s}) for s in sentences(400)))


@case(CALIBRATED, refused="DATASET_INVALID", says=["body"])
def lines_of_json_with_other_fields(model):
    return text_file(model, "t.jsonl", "\n".join(json.dumps({"body": s}) for s in sentences(400)))


@case(CALIBRATED, refused="DATASET_INVALID", says=["t.txt"])
def a_text_that_is_too_short(model):
    return text_file(model, "t.txt", "Too short.")


@case(CALIBRATED, refused="DATASET_INVALID", says=["UTF-8"])
def a_text_that_is_not_utf_8(model):
    return text_file(model, "t.txt", b"\xff\xfe" * 4000)


# ---------------------------------------------------------------- outputs

@case("--method rtn --no-evaluation --group-size -1")
def a_group_size_of_minus_one_is_per_channel(model):
    model.write()


@case("--method rtn --no-evaluation --group-size 96", refused="RECIPE_INVALID",
      says=["linears (model.layers.*.self_attn.q_proj", "--group-size 128"])
def a_group_size_that_divides_nothing_is_said_once(model):
    model.write()


@case("--method hqq --no-evaluation --samples 2", says=["written as hqq"])
def a_format_that_holds_the_recipe_is_taken(model):
    model.write()


@case("--method rtn --no-evaluation --samples 2 --number-format Q4_K", says=["written as gguf"])
def blocks_of_gguf_are_written_as_gguf(model):
    model.write()


@case(refused="INVALID_FIELD", says=["--force"])
def a_folder_that_holds_an_older_result(model):
    model.write()
    out = model.path.parent / "out"
    out.mkdir()
    (out / "config.json").write_text("{}", "utf-8")
    (out / "model-00003-of-00003.safetensors").write_bytes(b"x")
