"""What is compared: for each storage class the tools that can write it, and quantd's recipes.

A class is what the result costs in memory, so that its rows differ by method alone.
"""

import dataclasses

SAMPLES, TOKENS = 64, 512  # calibration

# key: title. Titles say what a weight costs: codes, and a scale and a zero point per group.
STORAGES = {
    "w4g128": "4 bits, groups of 128",
    "w4g64": "4 bits, groups of 64",
    "w3g128": "3 bits, groups of 128",
    "w3g64": "3 bits, groups of 64",
    "w2g64": "2 bits, groups of 64",
    "w2g32": "2 bits, groups of 32",
    "w2g16": "2 bits, groups of 16",
    "w8a8": "W8A8, a scale per row and per token",
    "w8a8-smooth": "W8A8 with SmoothQuant",
    "w4g128-16": "4 bits, groups of 128, calibrated with 16 windows",
    "w4g128-wiki": "4 bits, groups of 128, calibrated with text of another domain",
    "gguf": "4 bits as llama.cpp stores them (4.5 to 5 bits a weight in all)",
}

# By gradients: stated, but not who is compared with.
BY_GRADIENTS = {"autoround"}


@dataclasses.dataclass(frozen=True)
class Row:
    storage: str
    label: str  # the tool and what is not its default
    tool: str   # of run_peer.MODULES, or "quantd"
    options: dict
    samples: int = SAMPLES  # 0: the tool wants none
    text: str = "calibration"

    @property
    def name(self):
        words = "".join(c if c.isalnum() else " " for c in self.label.lower()).split()
        return f"{self.storage}.{'-'.join(words)}"


def group_options(storage):
    """{"bits", "group"} from a key such as w3g64."""
    bits, group = storage.split("-")[0].removeprefix("w").split("g")
    return {"bits": int(bits), "group": int(group)}


def weight_rows(storage):
    """The tools for one class of weights without activations."""
    size = group_options(storage)
    rows = [
        Row(storage, "GPTQModel", "gptqmodel", size),
        Row(storage, "GPTQModel, asymmetric", "gptqmodel", {**size, "symmetric": False}),
        Row(storage, "hqq", "hqq", size, samples=0),
        Row(storage, "llm-compressor GPTQ", "llm-compressor", {**size, "method": "gptq"}),
        Row(storage, "llm-compressor GPTQ, asymmetric", "llm-compressor",
            {**size, "method": "gptq", "symmetric": False}),
        Row(storage, "llm-compressor AWQ", "llm-compressor",
            {**size, "method": "awq", "symmetric": False}),
        Row(storage, "llm-compressor RTN, asymmetric", "llm-compressor",
            {**size, "method": "rtn", "symmetric": False}, samples=0),
        Row(storage, "llm-compressor RTN", "llm-compressor", {**size, "method": "rtn"}, samples=0),
    ]
    if size["bits"] == 4:
        rows.insert(0, Row(storage, "AutoAWQ, fixed", "autoawq", size))
    return rows


def int8_rows():
    return [Row("w8a8", "llm-compressor W8A8", "llm-compressor", {"method": "int8"}, samples=0),
            Row("w8a8-smooth", "llm-compressor SmoothQuant 0.8", "llm-compressor",
                {"method": "smoothquant"}),
            Row("w8a8-smooth", "llm-compressor SmoothQuant 0.5", "llm-compressor",
                {"method": "smoothquant", "strength": 0.5})]


def data_rows():
    """How much the result depends on the calibration text."""
    rows = []
    for storage, more in (("w4g128-16", {"samples": 16}), ("w4g128-wiki", {"text": "wikitext"})):
        size = group_options(storage)
        rows += [Row(storage, "AutoAWQ, fixed", "autoawq", size, **more),
                 Row(storage, "GPTQModel", "gptqmodel", size, **more)]
    return rows


def gguf_rows():
    return [Row("gguf", "llama.cpp Q4_0", "llama.cpp", {"type": "Q4_0"}, samples=0),
            Row("gguf", "llama.cpp Q4_K_M", "llama.cpp", {"type": "Q4_K_M"}, samples=0),
            Row("gguf", "llama.cpp Q4_K_M, imatrix", "llama.cpp",
                {"type": "Q4_K_M", "imatrix": True})]


def slow_rows():
    return [Row(storage, "AutoRound, 200 iterations", "autoround", group_options(storage))
            for storage in ("w4g128", "w3g128", "w2g64")]


def peer_rows():
    """Quick and telling ones first."""
    order = ["w4g128", "w3g128", "w2g64", "w3g64", "w2g32", "w2g16"]
    rows = [row for storage in order for row in weight_rows(storage)]
    rows.append(Row("w4g64", "hqq", "hqq", group_options("w4g64"), samples=0))
    return rows + int8_rows() + data_rows() + gguf_rows() + slow_rows()
